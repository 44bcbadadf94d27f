package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const ignoreName = ".dockerignore"

// usual is left out of the context of a generated Dockerfile where there is no
// .dockerignore: no program reads it, and it can be larger than the rest.
const usual = ".git\n**/__pycache__\n.venv\nvenv\n.scrapy\n"

// entry is one file of the context, of any type.
type entry struct {
	name   string // in the context, with slashes
	path   string // on disk
	mode   fs.FileMode
	size   int64
	mtime  time.Time
	device uint64 // that the file stands for
}

// readIgnore reads what to leave out. A Dockerfile may have a list of its own beside it, with
// .dockerignore after its name, which then counts in place of the directory's.
func (s *Source) readIgnore(dockerfile string) error {
	candidates := []string{filepath.Join(s.Dir, ignoreName)}
	if dockerfile != "" {
		candidates = []string{dockerfile + ignoreName, candidates[0]}
	}
	for _, s.ignoreFile = range candidates {
		text, err := readFile(s.ignoreFile)
		if err == nil {
			s.ignore = string(text)
			return s.checkIgnore()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if s.Generated {
		s.ignore = usual
	}
	if s.Kind == Node {
		s.ignore += "node_modules\n"
	}
	return nil
}

// checkIgnore names the first line that is no pattern. What reads all of them knows no lines, and
// looks into a pattern when a file may match it.
func (s *Source) checkIgnore() error {
	n := 0
	for line := range strings.Lines(s.ignore) {
		n++
		patterns, err := ignorefile.ReadAll(strings.NewReader(line))
		if err != nil {
			return fmt.Errorf("%s:%d: the line is too long; write patterns of fewer than 64 KiB", s.ignoreFile, n)
		}
		for _, p := range patterns {
			if !isPattern(p) {
				return fmt.Errorf("%s:%d: %q is no pattern; close each [ with a ], write \\[ for the character "+
					"itself, and put a pattern behind a !", s.ignoreFile, n,
					strings.TrimSpace(line))
			}
		}
	}
	return nil
}

func isPattern(text string) bool {
	pm, err := patternmatcher.New([]string{strings.TrimPrefix(text, "!")})
	if err != nil || text == "!" {
		return false
	}
	_, err = pm.MatchesOrParentMatches("x")
	return err == nil
}

// ignored returns what finds the files to leave out.
func (s *Source) ignored() (*patternmatcher.PatternMatcher, error) {
	patterns, err := ignorefile.ReadAll(strings.NewReader(s.ignore))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.ignoreFile, err)
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.ignoreFile, err)
	}
	return pm, nil
}

// list returns what the context holds, sorted by name.
func (s *Source) list() ([]entry, error) {
	if s.Kind == Binary {
		return s.program()
	}
	ignore, err := s.ignored()
	if err != nil {
		return nil, err
	}
	w := walk{
		dir:    s.Dir,
		ignore: ignore,
		seen:   map[string]patternmatcher.MatchInfo{},
		left:   map[string]entry{},
	}
	if err := filepath.WalkDir(s.Dir, w.visit); err != nil {
		return nil, err
	}
	slices.SortFunc(w.found, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return w.found, nil
}

// walk is one walk through a directory.
type walk struct {
	dir    string
	ignore *patternmatcher.PatternMatcher
	seen   map[string]patternmatcher.MatchInfo // of directories above
	left   map[string]entry                    // ignored directories, which come in with a file that is not
	found  []entry
}

func (w *walk) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(w.dir, path)
	if err != nil || rel == "." {
		return err
	}
	rel = filepath.ToSlash(rel)
	ignored, info, err := w.ignore.MatchesUsingParentResults(rel, w.seen[filepath.Dir(rel)])
	if err != nil {
		return err
	}
	if d.IsDir() {
		w.seen[rel] = info
	}
	switch {
	case ignored && !d.IsDir():
		return nil
	case ignored && !w.ignore.Exclusions():
		return filepath.SkipDir
	}
	e, err := newEntry(rel, path, d)
	switch {
	case err != nil:
		return err
	case ignored:
		w.left[rel] = e
	case e.mode.Type() != fs.ModeSocket: // which is nothing without who listens
		w.add(e)
	}
	return nil
}

// add takes in an entry, with the directories above it.
func (w *walk) add(e entry) {
	for dir := filepath.Dir(e.name); dir != "."; dir = filepath.Dir(dir) {
		if above, ok := w.left[dir]; ok {
			delete(w.left, dir)
			w.found = append(w.found, above)
		}
	}
	w.found = append(w.found, e)
}

func newEntry(rel, path string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	e := entry{name: rel, path: path, mode: info.Mode(), mtime: info.ModTime()}
	if e.mode.IsRegular() {
		e.size = info.Size()
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.device = st.Rdev
	}
	return e, nil
}
