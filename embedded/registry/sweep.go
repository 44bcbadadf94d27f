package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// sweep deletes what is not marked and was not touched since the cutoff.
//
// It does not use distribution's storage.Vacuum, which knows no such condition
// and has no lock around looking and deleting.
type sweep struct {
	layout layout
	touch  *sync.RWMutex
	marks  *marks
	inv    *inventory
	cutoff time.Time
	grace  time.Duration
	report Report
}

func (s *sweep) run(ctx context.Context) error {
	for _, d := range s.order() {
		if err := errors.Join(ctx.Err(), s.visit(d)); err != nil {
			return err
		}
	}
	for _, repo := range s.inv.repos {
		if err := errors.Join(ctx.Err(), s.uploads(repo), s.prune(repo)); err != nil {
			return err
		}
	}
	return nil
}

// order returns all digests, parents before children: while a manifest is there
// to be found by a client, so must be what it refers to.
func (s *sweep) order() []digest.Digest {
	seen := make(map[digest.Digest]bool)
	var bottomUp []digest.Digest
	var descend func(digest.Digest)
	descend = func(d digest.Digest) {
		if seen[d] {
			return
		}
		seen[d] = true
		if s.inv.revisions[d] {
			m, _ := s.layout.load(d) // a damaged one has no known children
			for _, child := range m.Manifests {
				descend(child.Digest)
			}
		}
		bottomUp = append(bottomUp, d)
	}
	for d := range s.inv.revisions {
		descend(d)
	}
	manifests := len(bottomUp)
	top := make([]digest.Digest, 0, manifests)
	for i := range bottomUp {
		top = append(top, bottomUp[manifests-1-i])
	}
	for d := range s.inv.links {
		if !seen[d] {
			seen[d] = true
			top = append(top, d)
		}
	}
	for d := range s.inv.blobs {
		if !seen[d] {
			top = append(top, d)
		}
	}
	return top
}

// visit deletes the links that are not needed and, if none is, the blob. A
// manifest that a client asked for meanwhile is kept with all beneath it.
func (s *sweep) visit(d digest.Digest) error {
	touched, err := s.remove(d)
	if err != nil || !touched || !s.inv.revisions[d] {
		return err
	}
	return s.marks.everywhere(s.inv, d)
}

func (s *sweep) remove(d digest.Digest) (touched bool, err error) {
	s.touch.Lock()
	defer s.touch.Unlock()
	links := s.inv.links[d]
	if s.layout.youngerThan(d, links, s.cutoff) {
		return true, nil
	}
	for _, l := range links {
		if s.marks.has(l.repo, d) {
			continue
		}
		if err := s.layout.removeAll(l.dir); err != nil {
			return false, err
		}
	}
	if s.marks.hasAnywhere(d) {
		return false, nil
	}
	return false, s.removeBlob(d)
}

func (s *sweep) removeBlob(d digest.Digest) error {
	fi, err := os.Stat(s.layout.blobFile(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.layout.removeAll(blobDir(d)); err != nil {
		return err
	}
	if fi == nil {
		return nil
	}
	s.report.Bytes += fi.Size()
	if s.inv.revisions[d] {
		s.report.Manifests++
	} else {
		s.report.Blobs++
	}
	return nil
}

// uploads removes those of a repository that nobody wrote to since the cutoff.
func (s *sweep) uploads(repo string) error {
	dir := repoDir(repo, "_uploads")
	names, err := s.layout.list(dir)
	for _, name := range names {
		err = errors.Join(err, s.upload(dir+"/"+name))
	}
	return err
}

func (s *sweep) upload(dir string) error {
	s.touch.Lock()
	defer s.touch.Unlock()
	var size int64
	var last time.Time
	err := filepath.WalkDir(s.layout.abs(dir), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		fi, err := e.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if !fi.IsDir() {
			size += fi.Size()
			last = latest(last, fi.ModTime())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !last.IsZero() && !last.Before(s.cutoff) {
		s.report.hold(size, last.Add(s.grace))
		return nil
	}
	if err := s.layout.removeAll(dir); err != nil {
		return err
	}
	s.report.Uploads++
	s.report.Bytes += size
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// prune removes the empty folders of a repository, so that one without content
// leaves the catalog.
func (s *sweep) prune(repo string) error {
	s.touch.Lock()
	defer s.touch.Unlock()
	return s.layout.pruneEmpty(repoDir(repo, ""))
}
