package source

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const ignoreName = ".dockerignore"

// usual is left out of the context of a generated Dockerfile where there is no
// .dockerignore: no program reads it, and it can be larger than the rest.
const usual = ".git\n**/__pycache__\n.venv\nvenv\n.scrapy\n"

// entry is one file, directory or symlink of the context.
type entry struct {
	name  string // in the context, with slashes
	path  string // on disk; empty for text
	text  string
	mode  fs.FileMode
	size  int64
	mtime time.Time
}

// textEntry returns a file of the context that is on no disk. It has no time, so
// that the same source makes the same context.
func textEntry(name, text string) entry {
	return entry{name: name, text: text, mode: 0o644, size: int64(len(text))}
}

// readIgnore sets what to leave out. A Dockerfile that is not a file of the
// directory is ignored too: the engine reads it and then takes it away, so that
// a change of it is no change of the code.
func (s *Source) readIgnore() error {
	text, err := s.read(ignoreName)
	if err != nil {
		return err
	}
	none := !s.has(ignoreName)
	if none && s.Generated {
		text = usual
		if s.Kind == Node {
			text += "node_modules\n"
		}
	}
	if s.sent {
		text += "\n" + s.dockerfileName + "\n"
		if none {
			text += ignoreName + "\n"
		}
	}
	s.ignore = text
	return nil
}

// list returns what the context holds, sorted by name.
func (s *Source) list() ([]entry, error) {
	if s.Kind == Binary {
		return s.program()
	}
	patterns, err := ignorefile.ReadAll(strings.NewReader(s.ignore))
	if err != nil {
		return nil, err
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	w := walk{s: s, ignore: pm, seen: map[string]patternmatcher.MatchInfo{}}
	if err := filepath.WalkDir(s.Dir, w.visit); err != nil {
		return nil, err
	}
	if s.sent {
		w.found = append(w.found, textEntry(s.dockerfileName, s.Dockerfile), textEntry(ignoreName, s.ignore))
	}
	slices.SortFunc(w.found, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return w.found, nil
}

// walk is one walk through a directory.
type walk struct {
	s      *Source
	ignore *patternmatcher.PatternMatcher
	seen   map[string]patternmatcher.MatchInfo // of directories above
	found  []entry
}

func (w *walk) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(w.s.Dir, path)
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
	case ignored && d.IsDir() && !w.ignore.Exclusions() && !strings.HasPrefix(w.s.dockerfileName, rel+"/"):
		return filepath.SkipDir
	case ignored && !w.wanted(rel), w.replaced(rel):
		return nil
	}
	return w.add(rel, path, d)
}

// wanted reports whether the engine needs a file, ignored or not; it takes the
// ignored ones away itself.
func (w *walk) wanted(rel string) bool {
	return !w.s.sent && (rel == w.s.dockerfileName || rel == ignoreName)
}

// replaced reports whether the source has its own text for a file.
func (w *walk) replaced(rel string) bool {
	return w.s.sent && (rel == w.s.dockerfileName || rel == ignoreName)
}

// add takes in files, directories and symlinks; sockets and devices stay behind.
func (w *walk) add(rel, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	e := entry{name: rel, path: path, mode: info.Mode(), mtime: info.ModTime()}
	switch {
	case info.Mode().IsRegular():
		e.size = info.Size()
	case !info.IsDir() && info.Mode().Type() != fs.ModeSymlink:
		return nil
	}
	w.found = append(w.found, e)
	return nil
}
