package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
			"main.py p/",
		},
		"node modules": {
			files{"package.json": "{}", "index.js": "", "node_modules/x/y": ""},
			Options{},
			"index.js package.json",
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
			"a/ a/b",
		},
		"in a directory that is ignored": {
			files{"Dockerfile": "FROM x", ".dockerignore": "a\n!a/b/c", "a/x": "", "a/b/c": "", "a/b/d": ""},
			Options{},
			".dockerignore Dockerfile a/ a/b/ a/b/c",
		},
		"generated with ignore": {
			files{"main.py": "", ".dockerignore": "data", "data/x": "", ".git/HEAD": ""},
			Options{},
			".dockerignore .git/ .git/HEAD main.py",
		},
		"list of one Dockerfile": {
			files{
				"docker/D":              "FROM x",
				"docker/D.dockerignore": ".env\n",
				".dockerignore":         "docs\n",
				".env":                  "",
				"docs/x":                "",
			},
			Options{Dockerfile: "docker/D"},
			".dockerignore docker/ docker/D docker/D.dockerignore docs/ docs/x",
		},
		"empty list of one Dockerfile": {
			files{"D": "FROM x", "D.dockerignore": "", ".dockerignore": "x\n", "x": ""},
			Options{Dockerfile: "D"},
			".dockerignore D D.dockerignore x",
		},
		"with a mark": {
			files{"Dockerfile": "FROM x", ".dockerignore": "\ufeffx\n", "x": ""},
			Options{},
			".dockerignore Dockerfile",
		},
		"nothing": {
			files{"Dockerfile": "FROM x", ".dockerignore": "*\n", "x": ""},
			Options{},
			"./",
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

// A Dockerfile from elsewhere has a list of its own beside it too, and neither is in the context.
func TestTar_DockerfileFromElsewhere(t *testing.T) {
	t.Parallel()
	other := directory(t, map[string]string{"D": "FROM other", "E": "FROM other", "D.dockerignore": ".env"})
	dir := directory(t, map[string]string{"Dockerfile": "FROM x", ".dockerignore": "data", ".env": "", "data": ""})
	for name, want := range map[string]string{
		"D": ".dockerignore Dockerfile data",
		"E": ".dockerignore .env Dockerfile",
	} {
		o := Options{Dockerfile: filepath.Join(other, name)}
		if names, _ := packed(t, dir, o); names != want {
			t.Errorf("%s: got %s, want %s", name, names, want)
		}
		s, err := Open(dir, o)
		if err != nil || s.DockerfileName() != "" || s.Dockerfile != "FROM other" {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func TestDockerfileName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		o     Options
		want  string
	}{
		"usual":     {map[string]string{"Dockerfile": "FROM x"}, Options{}, "Dockerfile"},
		"lower":     {map[string]string{"dockerfile": "FROM x"}, Options{}, "dockerfile"},
		"other":     {map[string]string{"a/D": "FROM x"}, Options{Dockerfile: "a/D"}, "a/D"},
		"ignored":   {map[string]string{"Dockerfile": "FROM x", ".dockerignore": "Docker*"}, Options{}, ""},
		"below":     {map[string]string{"a/D": "FROM x", ".dockerignore": "a"}, Options{Dockerfile: "a/D"}, ""},
		"generated": {map[string]string{"main.py": ""}, Options{}, ""},
	} {
		s, err := Open(directory(t, c.files), c.o)
		if err != nil || s.DockerfileName() != c.want {
			t.Errorf("%s: got %q, %v; want %q", name, s.DockerfileName(), err, c.want)
		}
	}
}

// TestTar_KindsOfFiles has what docker build sends, and what it leaves behind.
func TestTar_KindsOfFiles(t *testing.T) {
	t.Parallel()
	odd := []string{"caf\xe9.html", "two\nlines", "\u202e", strings.Repeat("n", 250), "-rf", "a b", `back\slash`}
	files := map[string]string{"x": "FROM x"}
	for _, name := range odd {
		files[name] = "odd"
	}
	dir := directory(t, files)
	if err := errors.Join(os.Symlink("/etc", filepath.Join(dir, "etc")),
		os.Symlink("x", filepath.Join(dir, "Dockerfile")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.Chmod(filepath.Join(dir, "a b"), 0o755|fs.ModeSetuid),
		os.Chmod(dir+"/x", 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Skip(err) // the path of the directory may be too long for a socket
	}
	defer l.Close()
	_, texts := packed(t, dir, Options{})
	for _, name := range odd {
		if texts[name] != "odd" {
			t.Errorf("%q is not there", name)
		}
		delete(texts, name)
	}
	want := map[string]string{"Dockerfile": "x", "etc": "/etc", "x": "FROM x", "pipe": ""}
	if !maps.Equal(texts, want) {
		t.Errorf("got %q", texts)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.list()
	for _, e := range list {
		if want := map[string]int64{"a b": 0o4755, "x": 0o600, "pipe": 0o600}[e.name]; want != 0 && e.bits() != want {
			t.Errorf("%s has mode %o, want %o", e.name, e.bits(), want)
		}
	}
	if err != nil {
		t.Error(err)
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
		"(3.906KiB) and log (1.953KiB): list what the image does not need in " + dir +
		"/.dockerignore, or allow more with --max-context"
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
	if s, err = Open(dir, Options{MaxContext: 7000}); err != nil || s.Check() != nil {
		t.Errorf("with more allowed: %v, %v", err, s.Check())
	}
}

// TestOpen_BadIgnore: what is no pattern is told with its file and line, and before anything is read.
func TestOpen_BadIgnore(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\n# b\n[a\n":                     `.dockerignore:3: "[a" is no pattern`,
		"!":                                `.dockerignore:1: "!" is no pattern`,
		"a\n\n!b/[]":                       `.dockerignore:3: "!b/[]" is no pattern`,
		"a\\":                              `.dockerignore:1: "a\\" is no pattern`,
		"a\n" + strings.Repeat("b", 1<<17): ".dockerignore:2: the line is too long",
		"[z-a]\n":                          `.dockerignore:1: "[z-a]" is no pattern`,
		"a\n!b\n/c\\[":                     "",
	} {
		dir := directory(t, map[string]string{"Dockerfile": "FROM x", ".dockerignore": text})
		_, err := Open(dir, Options{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), dir+"/"+want)) {
			t.Errorf("%.20q: got %v, want %s", text, err, want)
		}
	}
}
