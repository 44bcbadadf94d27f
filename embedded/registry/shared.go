package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// Tag is what a tag points at where several registries are one.
type Tag struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`   // as Image.Size
	Pushed time.Time     `json:"pushed"` // last
}

// AllTags has tags by their names, by repository.
type AllTags = map[string]map[string]Tag

// Tags say what the tags of several registries point at, so that all agree on it. Its methods may be
// called at the same time.
type Tags interface {
	// All returns all tags as they are now, to be read only. It does not wait.
	All() AllTags
	// Set has a tag point at what was pushed.
	Set(ctx context.Context, repo, tag string, to Tag) error
	// Remove removes the tags of a repository that fit, and reports whether there were any.
	Remove(ctx context.Context, repo string, fits func(tag string, to Tag) bool) (bool, error)
}

// Others are the registries that are one with this one. Its methods may be called at the same time.
type Others interface {
	// ServeHTTP answers a GET or HEAD of what is named by its digest and is not here.
	http.Handler
	// Begun is told of an upload that begins, and Ended of how it ended: with a blob, or without where
	// there is none. Neither waits.
	Begun(repo, upload string)
	Ended(repo, upload string, d digest.Digest)
	// Bring brings here what another one may have.
	Bring(ctx context.Context, repo string, p Part) error
	// Copy returns once as many others as have to have an image that is here, named by the digest of its
	// manifest.
	Copy(ctx context.Context, repo string, d digest.Digest) error
	// Delete removes a manifest from the others, as far as they answer.
	Delete(ctx context.Context, repo string, d digest.Digest)
}

// shares reports whether this registry is one of several.
func (r *Registry) shares() bool { return r.tags != nil }

// Own returns a Handler of what is in this directory alone, for the others: what they bring is named by its
// digest, and they look whether it is here before, in whatever repository.
func (r *Registry) Own() http.Handler {
	app := r.serve(r.sparse, false)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f := contentPath.FindStringSubmatch(req.URL.Path)
		if f != nil && req.Method == http.MethodHead && f[2] == "blobs" && !onlyReads(req) {
			if d, err := digest.Parse(f[3]); err == nil {
				r.link(f[1], d)
			}
		}
		if f != nil && f[2] == "manifests" && digest.Digest(f[3]).Validate() != nil {
			deny(w, errors.New("tags are not for one registry alone to say"))
			return
		}
		app.ServeHTTP(w, req)
	})
}

// link has a repository have a blob that another one has.
func (r *Registry) link(repo string, d digest.Digest) {
	r.touch.RLock()
	defer r.touch.RUnlock()
	now := r.now()
	if os.Chtimes(r.layout.BlobFile(d), now, now) != nil {
		return
	}
	file := r.layout.Abs(layout.LayerDir(repo, d) + "/link")
	if _, err := os.Stat(file); err == nil {
		return
	}
	if err := writeLink(file, d, now); err != nil {
		r.log.Debug("failed to link a blob", "repository", repo, "digest", d, "err", err)
	}
}

func writeLink(file string, d digest.Digest, at time.Time) error {
	err := os.MkdirAll(path.Dir(file), 0o700)
	if err == nil {
		err = durable.WriteFile(file, []byte(d), 0o600)
	}
	if err == nil {
		err = os.Chtimes(file, at, at)
	}
	return err
}

// Has reports whether a repository here has a blob or a manifest.
func (r *Registry) Has(repo string, d digest.Digest, manifest bool) bool {
	dir := layout.LayerDir(repo, d)
	if manifest {
		dir = layout.RevisionDir(repo, d)
	}
	if d.Validate() != nil {
		return false
	}
	is, err := r.layout.ReadLink(dir)
	if err != nil {
		return false
	}
	_, err = os.Stat(r.layout.BlobFile(is))
	return err == nil
}

// Part is what a manifest names: a blob, or the manifest of an image in an index.
type Part struct {
	Digest   digest.Digest
	Size     int64 // bytes
	Manifest bool
}

// PartsOf returns what a manifest names, each once, but for layers that are to be had elsewhere.
func PartsOf(content []byte) (parts []Part, err error) {
	m, err := layout.ParseManifest(content)
	if err != nil {
		return nil, err
	}
	named := map[digest.Digest]bool{}
	add := func(p Part) {
		if !named[p.Digest] {
			named[p.Digest] = true
			parts = append(parts, p)
		}
	}
	for _, b := range m.Blobs() {
		if len(b.URLs) == 0 {
			add(Part{b.Digest, b.Size, false})
		}
	}
	for _, child := range m.Manifests {
		add(Part{child.Digest, child.Size, true})
	}
	return parts, nil
}

// Content returns a manifest that is here.
func (r *Registry) Content(d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return r.layout.ReadBlob(d)
}

// bringMissing brings what a manifest that is pushed names and is with others only: who pushes was told that it
// is there. What is nowhere is for the answer to the push.
func (r *Registry) bringMissing(ctx context.Context, repo string, content []byte) error {
	parts, err := PartsOf(content)
	if err != nil {
		return nil
	}
	for _, p := range parts {
		if r.Has(repo, p.Digest, p.Manifest) {
			continue
		}
		if err := r.others.Bring(ctx, repo, p); err != nil {
			r.log.Debug("failed to bring a part of an image that is pushed", "repository", repo, "digest", p.Digest,
				"err", err)
			if !p.Manifest {
				break // it is refused, whatever there is of the rest
			}
		}
	}
	return ctx.Err()
}

// setTag has a tag point at a manifest that is here, for all registries and then in this directory.
func (r *Registry) setTag(ctx context.Context, repo, tag string, d digest.Digest) error {
	sizes := map[digest.Digest]int64{}
	if err := measure(r.layout, d, sizes, new([]string)); err != nil {
		return err
	}
	to := Tag{Digest: d, Pushed: r.now().UTC()}
	for _, size := range sizes {
		to.Size += size
	}
	if err := r.tags.Set(ctx, repo, tag, to); err != nil {
		return err
	}
	r.writeTag(repo, tag, to)
	return nil
}

// writeTag writes a tag to the directory, where the version before looks for it.
func (r *Registry) writeTag(repo, tag string, to Tag) {
	r.touch.RLock()
	defer r.touch.RUnlock()
	dir := layout.TagDir(repo, tag)
	entry := path.Join(dir, "index", to.Digest.Algorithm().String(), to.Digest.Encoded(), "link")
	err := writeLink(r.layout.Abs(entry), to.Digest, r.now())
	if err == nil {
		err = writeLink(r.layout.Abs(dir+"/current/link"), to.Digest, to.Pushed)
	}
	if err != nil {
		r.log.Warn("failed to write a tag to the registry's directory; the tag stands", "image", repo+":"+tag,
			"err", err)
	}
	r.inStep(to.Pushed)
}

// stepFile says when the tags in the directory were in step with those of all registries last. A version
// before does not write it.
const stepFile = "in-step"

// inStep notes that the directory has what all agree on, with a tag that was pushed at a time: nothing that this
// version has written is later than what the file says, also where clocks differ or go back.
func (r *Registry) inStep(pushed time.Time) {
	at := r.now()
	if was, err := r.stepped(); err == nil && was.After(at) {
		at = was
	}
	if pushed.After(at) {
		at = pushed
	}
	text := at.UTC().Format(time.RFC3339Nano)
	if err := durable.WriteFile(r.layout.Abs(stepFile), []byte(text+"\n"), 0o600); err != nil {
		r.log.Warn("failed to note that the registry's tags are in step", "err", err)
	}
}

// Written returns the tags that the directory has, and until when they were written by this version; zero where
// they never were.
func (r *Registry) Written(ctx context.Context) (all AllTags, until time.Time, err error) {
	until, err = r.stepped()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("it is not known whether a version before has changed the registry's tags", "err", err)
	}
	all, err = r.written(ctx)
	return all, until, err
}

// stepped returns what the file says, in which there is little.
func (r *Registry) stepped() (time.Time, error) {
	text, err := os.ReadFile(r.layout.Abs(stepFile))
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
}

func (r *Registry) written(ctx context.Context) (AllTags, error) {
	repos, err := r.layout.Repositories(ctx)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	all := AllTags{}
	for _, repo := range repos {
		tags, err := r.layout.Tags(repo)
		if err != nil {
			return nil, fmt.Errorf("list tags of %s: %w", repo, err)
		}
		for tag, d := range tags {
			img, err := imageOf(r.layout, repo, tag, d)
			if err != nil {
				return nil, fmt.Errorf("look at %s:%s: %w", repo, tag, err)
			}
			if all[repo] == nil {
				all[repo] = map[string]Tag{}
			}
			all[repo][tag] = Tag{Digest: d, Size: img.Size, Pushed: img.Pushed.UTC()}
		}
	}
	return all, nil
}

// Follow brings the tags in the directory in step with those of all registries, as far as what they point at
// is here. The space of what has no tag any more is free with the next GC.
func (r *Registry) Follow(ctx context.Context) error {
	repos, err := r.layout.Repositories(ctx)
	if err != nil {
		return fmt.Errorf("list repositories: %w", err)
	}
	all := r.tags.All()
	for _, repo := range repos {
		written, err := r.layout.List(layout.RepoDir(repo, "_manifests/tags"))
		if err != nil {
			return fmt.Errorf("list tags of %s: %w", repo, err)
		}
		for _, tag := range written {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, ok := all[repo][tag]; ok {
				continue
			}
			if err := r.dropTag(repo, tag, ""); err != nil {
				return fmt.Errorf("remove %s:%s: %w", repo, tag, err)
			}
		}
		for tag, to := range all[repo] {
			is, err := r.layout.ReadLink(layout.TagDir(repo, tag) + "/current")
			if (err != nil || is != to.Digest) && r.Has(repo, to.Digest, true) {
				r.writeTag(repo, tag, to)
			}
		}
	}
	return nil
}

// dropTag removes a tag from the directory, unless it was pushed again since. The space of what it pointed at,
// as far as that is known, comes back with the next GC.
func (r *Registry) dropTag(repo, tag string, to digest.Digest) error {
	r.puts.Lock()
	defer r.puts.Unlock()
	if _, ok := r.tags.All()[repo][tag]; ok {
		return nil
	}
	dir := layout.TagDir(repo, tag)
	d, err := r.layout.ReadLink(dir + "/current")
	if err != nil {
		d = to
	}
	if err := r.layout.RemoveAll(dir); err != nil {
		return err
	}
	if d != "" {
		r.noteRemoved(repo, d)
	}
	r.inStep(time.Time{})
	return nil
}

// removeTags removes the tags of a repository that fit, for all registries and then from this directory.
func (r *Registry) removeTags(ctx context.Context, repo string, fits func(tag string, to Tag) bool) (bool, error) {
	gone := map[string]digest.Digest{}
	was, err := r.tags.Remove(ctx, repo, func(tag string, to Tag) bool {
		if !fits(tag, to) {
			return false
		}
		gone[tag] = to.Digest
		return true
	})
	if err != nil || !was {
		return was, err
	}
	for tag, d := range gone {
		if err := r.dropTag(repo, tag, d); err != nil {
			return true, fmt.Errorf("remove %s:%s: %w", repo, tag, err)
		}
	}
	return true, nil
}

// OpenUpload opens what has come of an upload; it can be read further while more comes.
func (r *Registry) OpenUpload(repo, upload string) (*os.File, error) {
	return os.Open(r.layout.Abs(path.Join(layout.RepoDir(repo, "_uploads"), upload, "data")))
}

// landing notes that a manifest is pushed which no tag may name yet, until ended is called.
func (r *Registry) landing(d digest.Digest) (ended func()) {
	r.landMu.Lock()
	defer r.landMu.Unlock()
	r.landed[d]++
	return func() {
		r.landMu.Lock()
		defer r.landMu.Unlock()
		if r.landed[d]--; r.landed[d] == 0 {
			delete(r.landed, d)
		}
	}
}

// roots returns what a collection keeps: keep, what is pushed now, and what tags point at.
func (r *Registry) roots(keep []digest.Digest) []digest.Digest {
	keep = slices.Clone(keep)
	r.landMu.Lock()
	keep = slices.AppendSeq(keep, maps.Keys(r.landed))
	r.landMu.Unlock()
	if !r.shares() {
		return keep
	}
	// Those pushed now are looked at first: they have their tags when they are no more.
	for _, tags := range r.tags.All() {
		for _, to := range tags {
			keep = append(keep, to.Digest)
		}
	}
	return keep
}
