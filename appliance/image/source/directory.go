package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// guesses are asked in this order; the first that knows the directory writes the
// Dockerfile. Python is last: others carry a script or two as well.
var guesses = []struct {
	kind  Kind
	knows func(s *Source) bool
	write func(s *Source, o Options) (string, error)
}{
	{Scrapy, func(s *Source) bool { return s.has("scrapy.cfg") }, (*Source).scrapy},
	{Node, func(s *Source) bool { return s.has("package.json") }, (*Source).node},
	{Go, func(s *Source) bool { return s.has("go.mod") }, (*Source).golang},
	{Python, (*Source).isPython, (*Source).python},
}

// openDirectory takes the Dockerfile that is there, or writes one.
func (s *Source) openDirectory(o Options) error {
	if path := s.ownDockerfile(o); path != "" {
		return s.take(path)
	}
	for _, g := range guesses {
		if !g.knows(s) {
			continue
		}
		s.Kind, s.Generated = g.kind, true
		if err := s.readIgnore(""); err != nil {
			return err
		}
		text, err := g.write(s, o)
		s.Dockerfile = text
		return err
	}
	return fmt.Errorf("%s has no Dockerfile, scrapy.cfg, package.json, go.mod, requirements.txt, pyproject.toml or "+
		"*.py file that says how to run it; write a Dockerfile there", s.Dir)
}

// ownDockerfile returns the path of the user's Dockerfile, empty if there is none.
// Docker takes the name in lower case too.
func (s *Source) ownDockerfile(o Options) string {
	if filepath.IsAbs(o.Dockerfile) {
		return o.Dockerfile
	}
	if o.Dockerfile != "" {
		return filepath.Join(s.Dir, o.Dockerfile)
	}
	for _, name := range []string{"Dockerfile", "dockerfile"} {
		if s.has(name) {
			return filepath.Join(s.Dir, name)
		}
	}
	return ""
}

// take reads a Dockerfile. It is a file of the context unless it lies outside of the directory,
// also where a symlink there leads out, or .dockerignore lists it.
func (s *Source) take(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return fmt.Errorf("%s is empty", path)
	}
	s.Kind, s.Dockerfile = Dockerfile, string(text)
	if err := s.readIgnore(path); err != nil {
		return err
	}
	rel, err := filepath.Rel(s.Dir, real)
	if err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	ignore, err := s.ignored()
	if err != nil {
		return err
	}
	if left, err := ignore.MatchesOrParentMatches(rel); err != nil || left {
		return err
	}
	s.dockerfileName = filepath.ToSlash(rel)
	return nil
}

func (s *Source) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.Dir, name))
	return err == nil
}

// readFile is os.ReadFile of what does not wait: a pipe that nobody writes to would hold up even
// Ctrl-C.
func readFile(path string) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	}
	return os.ReadFile(path)
}

// read returns the text of a file of the directory, empty if there is none.
func (s *Source) read(name string) (string, error) {
	b, err := readFile(filepath.Join(s.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return words.WithoutMark(string(b)), err
}
