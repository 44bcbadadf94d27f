package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/image"
)

func TestBuildArgs(t *testing.T) {
	t.Setenv("CRAWLBOX_TEST_ARG", "from here")
	got, err := buildArgs([]string{"A=b=c", "B=", "CRAWLBOX_TEST_ARG", "CRAWLBOX_TEST_NONE"})
	if want := (map[string]string{"A": "b=c", "B": "", "CRAWLBOX_TEST_ARG": "from here"}); err != nil ||
		!maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "=x", "A B=1", "1A=x", "A\nRUN rm=1"} {
		if _, err := buildArgs([]string{bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestChosenBuilder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, dockers, want string }{
		{"", "", image.Auto}, {"", "0", image.Classic}, {"", "1", image.BuildKit}, {"", "false", image.Classic},
		{"classic", "1", image.Classic}, {"buildkit", "0", image.BuildKit}, {"classic", "maybe", image.Classic},
	} {
		if got, err := chosenBuilder(c.flag, c.dockers); err != nil || got != c.want {
			t.Errorf("%q %q: got %q, %v", c.flag, c.dockers, got, err)
		}
	}
	for _, c := range [][2]string{{"kaniko", ""}, {"", "maybe"}} {
		if got, err := chosenBuilder(c[0], c[1]); err == nil {
			t.Errorf("%q: got %q", c, got)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Setenv("CRAWLBOX_TEST_SECRET", "of the environment")
	t.Chdir(t.TempDir())
	big := filepath.Join(t.TempDir(), "big")
	for path, text := range map[string]string{
		"token":                "of a file",
		"CRAWLBOX_TEST_SECRET": "not this",
		big:                    strings.Repeat("x", maxSecret+1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for flag, want := range map[string]string{
		"id=a,src=token":                    "a: of a file",
		"type=file,source=token,id=a":       "a: of a file",
		"id=token":                          "token: of a file",
		"id=a,env=CRAWLBOX_TEST_SECRET":     "a: of the environment",
		"id=CRAWLBOX_TEST_SECRET":           "CRAWLBOX_TEST_SECRET: of the environment",
		"id=CRAWLBOX_TEST_SECRET,src=token": "CRAWLBOX_TEST_SECRET: of a file",
		"src=token":                         "has no id",
		"id=a\nb,src=token":                 `--secret "id=a\nb,src=token" has a control character`,
		"id=a,src=to\x1bken":                `--secret "id=a,src=to\x1bken" has a control character`,
		"":                                  `has no ""`,
		"id=a,path=token":                   `has no "path"`,
		"id=a,type=vault":                   `the type "vault"`,
		"id=a,src=token,env=B":              "give src or env",
		"id=a,src=nowhere":                  "the secret a: open nowhere: no such file",
		"id=a,env=CRAWLBOX_TEST_NONE":       "no variable CRAWLBOX_TEST_NONE here",
		"id=a,src=" + big:                   "takes 500KB at most",
		"id=nowhere":                        "open nowhere",
	} {
		f := &buildFlags{}
		var got string
		var err error
		if f.secrets, err = parseSecrets([]string{flag}); err == nil {
			var all map[string][]byte
			all, err = f.readSecrets()
			for _, id := range slices.Sorted(maps.Keys(all)) {
				got += id + ": " + string(all[id])
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("--secret %s: got %s, want %s", flag, got, want)
		}
	}
}
