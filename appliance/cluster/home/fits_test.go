package home

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/configs"
)

// TestFits replaces a config file of comments alone, as an installation writes it, and none that sets anything.
func TestFits(t *testing.T) {
	t.Parallel()
	for own, want := range map[string]bool{
		"":                                 true,
		"# all keys\n\n  # log_level: x\n": true,
		"# a\nlog_level: warn\n":           false,
		"log_level: info # as there\n":     true,
	} {
		file := filepath.Join(t.TempDir(), "crawlbox.yaml")
		if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&taker{Config: configs.Config{File: file}}).fits([]byte("log_level: info # as there\n"))
		if (err == nil) != want {
			t.Errorf("%q: %v", own, err)
		}
	}
}

// TestFits_NoDirectory takes the move where the directory of the config can be made, and not where it can't.
func TestFits_NoDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := (&taker{Config: configs.Config{File: filepath.Join(dir, "etc", "c.yaml")}}).fits(nil); err != nil {
		t.Error(err)
	}
	if err := (&taker{Config: configs.Config{File: "/proc/crawlbox/c.yaml"}}).fits(nil); err == nil {
		t.Error("a config file that can't be written was taken")
	}
}
