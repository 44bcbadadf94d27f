package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// elsewhere is the name in the context of a Dockerfile from outside of it.
const elsewhere = ".crawlbox.Dockerfile"

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

// openFolder takes the Dockerfile that is there, or writes one.
func (s *Source) openDirectory(o Options) error {
	if name := s.ownDockerfile(o); name != "" {
		if err := s.take(name); err != nil {
			return err
		}
		return s.readIgnore()
	}
	for _, g := range guesses {
		if !g.knows(s) {
			continue
		}
		s.Kind, s.Generated, s.sent, s.dockerfileName = g.kind, true, true, "Dockerfile"
		if err := s.readIgnore(); err != nil {
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

// take reads a Dockerfile. One that lies outside of the directory, or that a
// symlink there leads to, is sent under another name, as the engine follows
// no link out of the context.
func (s *Source) take(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	s.Kind, s.Dockerfile = Dockerfile, string(text)
	s.dockerfileName, s.sent = elsewhere, true
	if rel, err := filepath.Rel(s.Dir, real); err == nil && filepath.IsLocal(rel) {
		s.dockerfileName, s.sent = filepath.ToSlash(rel), false
	}
	return nil
}

func (s *Source) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.Dir, name))
	return err == nil
}

// read returns the text of a file of the directory, empty if there is none.
func (s *Source) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
