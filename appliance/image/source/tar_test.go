package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed opens a source and returns its context as lines, and the texts.
func packed(t *testing.T, path string, o Options) (names string, texts map[string]string) {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	var b, again bytes.Buffer
	if err := errors.Join(s.Tar(t.Context(), &b), s.Tar(t.Context(), &again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("two tars of one directory differ")
	}
	texts = map[string]string{}
	for tr := tar.NewReader(&b); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return strings.TrimSpace(names), texts
		}
		text, readErr := io.ReadAll(tr)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s is of %d %s", h.Name, h.Uid, h.Uname)
		}
		names += " " + h.Name
		texts[h.Name] = string(text) + h.Linkname
	}
}

func TestTar(t *testing.T) {
	t.Parallel()
	type files = map[string]string
	for name, c := range map[string]struct {
		files files
		o     Options
		want  string
	}{
		"as docker does": {
			files{"Dockerfile": "FROM x", ".git/HEAD": "", "a/b": ""},
			Options{},
			".git/ .git/HEAD Dockerfile a/ a/b",
		},
		"usual of generated": {
			files{"main.py": "", ".git/HEAD": "", "p/__pycache__/x": "", ".venv/x": "", "venv/x": ""},
			Options{},
			".dockerignore Dockerfile main.py p/",
		},
		"node modules": {
			files{"package.json": "{}", "index.js": "", "node_modules/x/y": ""},
			Options{},
			".dockerignore Dockerfile index.js package.json",
		},
		"ignored but needed": {
			files{
				"build/D":       "FROM x",
				"build/o":       "",
				".dockerignore": "*\n!a\na/skip\n",
				"a/b":           "",
				"a/skip":        "",
				"c":             "",
			},
			Options{Dockerfile: "build/D"},
			".dockerignore a/ a/b build/D",
		},
		"generated with ignore": {
			files{"main.py": "", ".dockerignore": "data", "data/x": "", ".git/HEAD": ""},
			Options{},
			".dockerignore .git/ .git/HEAD Dockerfile main.py",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, _ := packed(t, directory(t, c.files), c.o); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A Dockerfile from elsewhere, and one that crawlbox wrote, must not become
// code: the engine takes away what .dockerignore names.
func TestTar_DockerfileIsNoCode(t *testing.T) {
	t.Parallel()
	other := directory(t, map[string]string{"D": "FROM other"})
	dir := directory(t, map[string]string{"Dockerfile": "FROM x", ".dockerignore": "data"})
	names, texts := packed(t, dir, Options{Dockerfile: filepath.Join(other, "D")})
	if names != ".crawlbox.Dockerfile .dockerignore Dockerfile" || texts[".crawlbox.Dockerfile"] != "FROM other" ||
		texts[".dockerignore"] != "data\n.crawlbox.Dockerfile\n" {
		t.Errorf("got %s, %q", names, texts)
	}
	_, texts = packed(t, directory(t, map[string]string{"main.py": ""}), Options{})
	if got := texts[".dockerignore"]; !strings.HasSuffix(got, "\nDockerfile\n.dockerignore\n") {
		t.Errorf("got %q", got)
	}
}

func TestTar_LinksAndSockets(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{"x": "FROM x"})
	if err := errors.Join(os.Symlink("/etc", filepath.Join(dir, "etc")),
		os.Symlink("x", filepath.Join(dir, "Dockerfile"))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Skip(err) // the path of the directory may be too long for a socket
	}
	defer l.Close()
	names, texts := packed(t, dir, Options{})
	if names != "Dockerfile etc x" || texts["etc"] != "/etc" {
		t.Errorf("got %s, %q", names, texts)
	}
}

func TestTar_TooLarge(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"Dockerfile": "FROM x",
		"data/1":     strings.Repeat("x", 3000),
		"data/2":     strings.Repeat("x", 1000),
		"log":        strings.Repeat("x", 2000),
		"a":          "x",
	})
	s, err := Open(dir, Options{MaxContext: 5000})
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.list()
	if files, bytes := sum(found); files != 5 || bytes != 6007 || err != nil {
		t.Errorf("size %d files, %d bytes, %v", files, bytes, err)
	}
	var b bytes.Buffer
	err = s.Tar(t.Context(), &b)
	want := dir + " has 5.866KiB in 5 files, more than the 4.883KiB that may be sent to Docker; most is in data " +
		"(3.906KiB) and log (1.953KiB): list what the image does not need in " + dir + "/.dockerignore"
	if err == nil || err.Error() != want || b.Len() != 0 {
		t.Errorf("got %v\nwant %s; %d bytes written", err, want, b.Len())
	}
	s.limit = 3000
	if err := os.Remove(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "most is in data (3.906KiB): list") {
		t.Errorf("got %v", err)
	}
	if s, err = Open(dir, Options{MaxContext: -1}); err != nil || s.Check() != nil {
		t.Errorf("without a limit: %v, %v", err, s.Check())
	}
}
