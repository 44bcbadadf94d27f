package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// Sweep deletes what is not marked and was not touched since the cutoff.
//
// It does not use distribution's storage.Vacuum, which knows no such condition
// and has no lock around looking and deleting.
type Sweep struct {
	Collection
	marks  *marks
	inv    *inventory
	keep   []digest.Digest
	cutoff time.Time
	report Report
}

// Run deletes, and reports what is gone and what only the grace still keeps. The report
// is right also beside an error.
func (s *Sweep) Run(ctx context.Context) (Report, error) {
	if err := s.everything(ctx); err != nil {
		return s.report, fmt.Errorf("remove unused images: %w", err)
	}
	if err := s.held(ctx); err != nil {
		return s.report, fmt.Errorf("find what is kept for now: %w", err)
	}
	return s.report, nil
}

func (s *Sweep) everything(ctx context.Context) error {
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
func (s *Sweep) order() []digest.Digest {
	seen := make(map[digest.Digest]bool)
	var bottomUp []digest.Digest
	var descend func(digest.Digest)
	descend = func(d digest.Digest) {
		if seen[d] {
			return
		}
		seen[d] = true
		if s.inv.revisions[d] {
			m, _ := s.Layout.LoadManifest(d) // a damaged one has no known children
			for _, child := range m.Manifests {
				descend(child.Digest)
			}
		}
		bottomUp = append(bottomUp, d)
	}
	for d := range s.inv.revisions {
		descend(d)
	}
	top := bottomUp
	slices.Reverse(top)
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
func (s *Sweep) visit(d digest.Digest) error {
	touched, err := s.remove(d)
	if err != nil || !touched || !s.inv.revisions[d] {
		return err
	}
	return s.marks.everywhere(s.inv, d)
}

func (s *Sweep) remove(d digest.Digest) (touched bool, err error) {
	s.Touch.Lock()
	defer s.Touch.Unlock()
	links := s.inv.links[d]
	if youngerThan(s.Layout, d, links, s.cutoff) {
		return true, nil
	}
	for _, l := range links {
		if s.marks.has(l.repo, d) {
			continue
		}
		if err := s.Layout.RemoveAll(l.dir); err != nil {
			return false, err
		}
	}
	if s.marks.hasAnywhere(d) {
		return false, nil
	}
	return false, s.removeBlob(d)
}

func (s *Sweep) removeBlob(d digest.Digest) error {
	fi, err := os.Stat(s.Layout.BlobFile(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.Layout.RemoveAll(layout.BlobDir(d)); err != nil {
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
func (s *Sweep) uploads(repo string) error {
	dir := layout.RepoDir(repo, "_uploads")
	names, err := s.Layout.List(dir)
	for _, name := range names {
		err = errors.Join(err, s.upload(dir+"/"+name))
	}
	return err
}

func (s *Sweep) upload(dir string) error {
	s.Touch.Lock()
	defer s.Touch.Unlock()
	var size int64
	var last time.Time
	err := filepath.WalkDir(s.Layout.Abs(dir), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return layout.IgnoreGone(err)
		}
		fi, err := e.Info()
		if err != nil {
			return layout.IgnoreGone(err)
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
		s.report.hold(size, last.Add(s.Grace))
		return nil
	}
	if err := s.Layout.RemoveAll(dir); err != nil {
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

// prune removes the empty directories of a repository, so that one without content
// leaves the catalog.
func (s *Sweep) prune(repo string) error {
	s.Touch.Lock()
	defer s.Touch.Unlock()
	return s.Layout.PruneEmpty(layout.RepoDir(repo, ""))
}
