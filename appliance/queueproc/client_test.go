package queueproc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/configs"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	made := filepath.Join(t.TempDir(), "queue.password")
	first, err := Password(configs.Queue{}, made, "")
	if err != nil || len(first) < 20 {
		t.Fatalf("made %q, %v", first, err)
	}
	if again, err := Password(configs.Queue{}, made, "another"); err != nil || again != first {
		t.Errorf("the second start has %q, %v; want %q", again, err, first)
	}
	if st, err := os.Stat(made); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", st.Mode(), err)
	}
	elsewhere := filepath.Join(t.TempDir(), "queue.password")
	if p, err := Password(configs.Queue{}, elsewhere, "another"); err != nil || p != "another" {
		t.Errorf("the next home has %q, %v", p, err)
	}
	if p, err := Password(configs.Queue{Password: "mine"}, made, "another"); err != nil || p != "mine" {
		t.Errorf("configured: %q, %v", p, err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]string{"theirs\n": "theirs", "\n": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Password(configs.Queue{PasswordFile: file}, made, "another")
		if p != want || (err != nil) != (want == "") {
			t.Errorf("file with %q: %q, %v", content, p, err)
		}
	}
}
