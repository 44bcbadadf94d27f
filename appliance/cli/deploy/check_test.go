package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTakeMemory refuses what no replica can have, with the reason that is true.
func TestTakeMemory(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":             "",
		"6MB":          "",
		"512g":         "",
		"1k":           "Docker takes 6MiB and more",
		"-1g":          "is not a size",
		"99999999999g": "more than any machine has",
		"2000000g":     "more than any machine has",
	} {
		f := deployFlags{memory: text}
		err := f.takeMemory()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", text, err, says)
		}
	}
}

// TestReadEnv refuses values of files that no program can be given.
func TestReadEnv(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"A=1\n":    "",
		"A=\x00\n": "the value of A has a NUL character",
		"A=\xff\n": "UTF-8",
	} {
		path := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readEnv([]string{path}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", text, err, says)
		}
	}
}
