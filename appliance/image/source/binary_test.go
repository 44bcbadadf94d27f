package source

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes the headers of a program with the segments given.
func program(t *testing.T, m elf.Machine, entry uint64, segments ...elf.ProgType) string {
	t.Helper()
	h := elf.Header64{
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(m),
		Version:   1,
		Entry:     entry,
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     uint16(len(segments)),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(
		elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var b bytes.Buffer
	parts := []any{h}
	for _, s := range segments {
		parts = append(parts, elf.Prog64{Type: uint32(s)})
	}
	for _, p := range parts {
		if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "Fetch.Linux")
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// native returns the machine that this test runs on.
func native(t *testing.T) elf.Machine {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Machine
}

func TestOpen_Binary(t *testing.T) {
	t.Parallel()
	path := program(t, native(t), 0x1000, elf.PT_LOAD)
	s, err := Open(path, Options{Base: "local"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "FROM local\nCOPY app /app\nENTRYPOINT [\"/app\"]\n"; s.Kind != Binary || s.Name != "fetch-linux" ||
		s.Dockerfile != want || s.Path() != path {
		t.Errorf("got %+v", s)
	}
	names, texts := packed(t, path, Options{})
	if !strings.HasPrefix(names, "app") || !strings.HasPrefix(texts["app"], elf.ELFMAG) {
		t.Errorf("got %s", names)
	}
	if s, err = Open(path, Options{}); err != nil ||
		strings.Contains(names, "certificates") != strings.Contains(s.Dockerfile, "certificates") {
		t.Errorf("got %s with\n%s, %v", names, s.Dockerfile, err)
	}
}

func TestOpen_BinaryRefused(t *testing.T) {
	t.Parallel()
	script := filepath.Join(directory(t, map[string]string{"run.sh": "#!/bin/sh"}), "run.sh")
	for want, path := range map[string]string{
		"needs shared libraries": program(t, native(t), 0x1000, elf.PT_INTERP, elf.PT_LOAD),
		"is built for EM_S390":   program(t, elf.EM_S390, 0x1000),
		"not a program":          program(t, native(t), 0),
		"neither a directory nor a Linux program; give the ": script,
		"there is no directory or file":                      script + "x",
	} {
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
