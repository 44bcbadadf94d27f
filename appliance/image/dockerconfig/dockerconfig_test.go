package dockerconfig

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/image"
)

// home has a config file, and credential helpers on the PATH: good knows every registry, none
// knows none, bad fails, and each says in a file what it was asked for.
func home(t *testing.T, text string) (asked func() string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", text)
	log := filepath.Join(dir, "asked")
	head := "#!/bin/sh\nread registry; echo $1 $registry >>" + log + "\n"
	write("docker-credential-good", head+`echo "{\"Username\":\"<token>\",\"Secret\":\"of $registry\"}"`)
	write("docker-credential-none", head+"echo credentials not found in native keychain; exit 1")
	write("docker-credential-bad", head+"echo 'the vault\nis shut'; exit 1")
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, _ := os.ReadFile(log)
		return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ", ")
	}
}

// auth is the login of a file: ci, with the password hush.
const auth = `{"auth":"Y2k6aHVzaA=="}`

func TestLogins(t *testing.T) {
	ci := image.Login{Username: "ci", Password: "hush"}
	for name, c := range map[string]struct {
		config, dockerfile, env string
		args                    map[string]string
		want                    image.Logins
		asked, failed           string
	}{
		"none": {config: `{}`, want: image.Logins{}},
		"all of the file": {
			config:     `{"auths":{"https://index.docker.io/v1/":` + auth + `,"https://a:5000/v2/":` + auth + `,"b":{}}}`,
			dockerfile: "FROM x",
			want:       image.Logins{image.DockerHub: ci, "a:5000": ci},
		},
		"of the environment": {
			config: `{"auths":{"a":` + auth + `}}`,
			env:    `{"auths":{"e":` + auth + `}}`,
			want:   image.Logins{"a": ci, "e": ci},
		},
		"a helper for what the Dockerfile names": {
			config:     `{"credHelpers":{"a.example":"good","b.example":"good","c.example":"good"}}`,
			dockerfile: "FROM a.example/x\nCOPY --from=b.example/y / /",
			want: image.Logins{
				"a.example": {IdentityToken: "of a.example"},
				"b.example": {IdentityToken: "of b.example"},
			},
			asked: "get a.example, get b.example",
		},
		"a helper for what an argument names": {
			config:     `{"credHelpers":{"a.example":"good","b.example":"good"}}`,
			dockerfile: "RUN x",
			args:       map[string]string{"BASE": "b.example/x"},
			want:       image.Logins{"b.example": {IdentityToken: "of b.example"}},
			asked:      "get b.example",
		},
		"helpers for what nobody knows yet": {
			config:     `{"credHelpers":{"1.ecr.example":"good"}}`,
			dockerfile: "ARG A\nFROM --platform=linux/amd64 ${A}.ecr.example/x",
			want:       image.Logins{"1.ecr.example": {IdentityToken: "of 1.ecr.example"}},
			asked:      "get 1.ecr.example",
		},
		"a store": {
			config:     `{"credsStore":"good","auths":{"https://index.docker.io/v1/":{},"a.example":{}}}`,
			dockerfile: "FROM x",
			want:       image.Logins{image.DockerHub: {IdentityToken: "of https://index.docker.io/v1/"}},
			asked:      "get https://index.docker.io/v1/",
		},
		"a store without it": {
			config: `{"credsStore":"none","auths":{"https://index.docker.io/v1/":{}}}`,
			want:   image.Logins{},
			asked:  "get https://index.docker.io/v1/",
		},
		"a helper that fails": {
			config:     `{"credHelpers":{"a.example":"bad"}}`,
			dockerfile: "FROM a.example/x",
			want:       image.Logins{},
			asked:      "get a.example",
			failed:     "the login to a.example was not to be had of docker-credential-bad (",
		},
		"a helper that is not there": {
			config:     `{"credHelpers":{"a.example":"desktop"}}`,
			dockerfile: "FROM a.example/x",
			want:       image.Logins{},
			failed:     "docker-credential-desktop (",
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := home(t, c.config)
			t.Setenv("DOCKER_AUTH_CONFIG", c.env)
			cfg, err := Load()
			if err != nil {
				t.Fatal(err)
			}
			got, failed := cfg.Logins(t.Context(), c.dockerfile, c.args)
			if !maps.Equal(got, c.want) {
				t.Errorf("got %#v, want %#v", map[string]image.Login(got), map[string]image.Login(c.want))
			}
			if said := asked(); said != c.asked {
				t.Errorf("asked %q, want %q", said, c.asked)
			}
			said := ""
			if len(failed) > 0 {
				said = failed[0].Error()
			}
			if !strings.Contains(said, c.failed) || (said == "") != (c.failed == "") || strings.Contains(said, "\n") {
				t.Errorf("failed with %q, want %q", said, c.failed)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	home(t, `{"proxies":{"default":{"httpProxy":"http://p:3128","noProxy":"localhost"}}}`)
	cfg, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.Proxies(map[string]string{"A": "b", "http_proxy": "mine"})
	want := map[string]string{
		"A":          "b",
		"http_proxy": "mine",
		"HTTP_PROXY": "http://p:3128",
		"NO_PROXY":   "localhost",
		"no_proxy":   "localhost",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoad(t *testing.T) {
	home(t, `{"auths":`)
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("a broken file: %v", err)
	}
	t.Setenv("DOCKER_CONFIG", filepath.Join(t.TempDir(), "none"))
	cfg, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if got, failed := cfg.Logins(t.Context(), "FROM x", nil); len(got) > 0 || failed != nil ||
		fmt.Sprint(cfg.Proxies(nil)) != "map[]" {
		t.Errorf("without a file: %v, %v, %v", got, failed, cfg.Proxies(nil))
	}
}
