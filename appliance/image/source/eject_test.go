package source

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEject(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{"main.py": ""})
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Eject()
	if err != nil || path != filepath.Join(dir, "Dockerfile") {
		t.Fatalf("got %s, %v", path, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != s.Dockerfile {
		t.Errorf("got %s, %v", text, err)
	}
	if _, err := s.Eject(); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("written over one that came meanwhile: %v", err)
	}
	for want, path := range map[string]string{
		"has a Dockerfile already": dir,
		"is a program":             program(t, native(t), 0x1000, elf.PT_LOAD),
	} {
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Eject(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
