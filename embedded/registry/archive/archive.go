// Package archive brings images out of a registry's directory into a tar archive, and back, one file after the other
// and with little memory. The registry may run meanwhile when they are brought out; when they are brought back it
// has yet to be opened.
//
// In the archive each file has the name that it has in the registry, below Prefix. What is brought back is taken only
// where it is one of these, and holds what its name says.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// Prefix begins the names of all files of images in an archive.
const Prefix = "images"

const (
	// maxLink is the most that a file has which names a digest, in bytes.
	maxLink = 256
	// maxNested is how deep indexes may name indexes.
	maxNested = 4
)

// Image is one to be brought out.
type Image struct {
	Repository string
	Tag        string // empty: it has none
	Digest     digest.Digest
}

// Writer brings out images.
type Writer struct {
	Root string // the registry's directory

	Bytes int64 // that were written so far

	done map[string]bool
}

// Write brings out an image with all that it consists of and was not brought out yet. ok is false where the registry
// lacks some of it; of an index for several platforms it needs one.
func (w *Writer) Write(to *tar.Writer, image Image) (ok bool, err error) {
	l := layout.Layout{Root: w.Root}
	list, whole := parts(l, image.Digest, 0, map[digest.Digest]bool{})
	if !whole {
		return false, nil
	}
	if w.done == nil {
		w.done = map[string]bool{}
	}
	for _, p := range list {
		link := layout.LayerDir(image.Repository, p.digest)
		if p.manifest {
			link = layout.RevisionDir(image.Repository, p.digest)
		}
		err := w.file(to, layout.BlobDir(p.digest)+"/data")
		if err == nil {
			err = w.link(to, link, p.digest)
		}
		if errors.Is(err, fs.ErrNotExist) { // swept meanwhile
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	if image.Tag == "" {
		return true, nil
	}
	tag, d := layout.TagDir(image.Repository, image.Tag), image.Digest
	return true, errors.Join(w.link(to, path.Join(tag, "index", d.Algorithm().String(), d.Encoded()), d),
		w.link(to, tag+"/current", d))
}

// Has reports whether a registry's directory has all of an image.
func Has(root string, image Image) bool {
	_, whole := parts(layout.Layout{Root: root}, image.Digest, 0, map[digest.Digest]bool{})
	return whole
}

type part struct {
	digest   digest.Digest
	manifest bool
}

// parts returns what an image consists of, and whether all of it is there. In looked are the manifests that were looked
// at before, which are not looked at again, and whether all of them is there.
func parts(l layout.Layout, d digest.Digest, depth int, looked map[digest.Digest]bool) (list []part, whole bool) {
	if whole, ok := looked[d]; ok {
		return nil, whole
	}
	defer func() { looked[d] = whole }()
	m, err := l.LoadManifest(d)
	if err != nil || depth > maxNested {
		return nil, false
	}
	for _, b := range m.Blobs() {
		if _, err := os.Stat(l.BlobFile(b.Digest)); err != nil {
			return nil, false
		}
		list = append(list, part{b.Digest, false})
	}
	some := len(m.Manifests) == 0
	for _, child := range m.Manifests {
		if more, whole := parts(l, child.Digest, depth+1, looked); whole {
			list, some = append(list, more...), true
		}
	}
	return append(list, part{d, true}), some
}

func (w *Writer) file(to *tar.Writer, name string) error {
	if w.done[name] {
		return nil
	}
	f, err := os.Open(filepath.Join(w.Root, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := to.WriteHeader(header(name, info.Size())); err != nil {
		return err
	}
	if _, err := io.CopyN(to, f, info.Size()); err != nil {
		return err
	}
	w.Bytes += info.Size()
	w.done[name] = true
	return nil
}

func (w *Writer) link(to *tar.Writer, dir string, d digest.Digest) error {
	name := dir + "/link"
	if w.done[name] {
		return nil
	}
	w.done[name] = true
	if err := to.WriteHeader(header(name, int64(len(d)))); err != nil {
		return err
	}
	_, err := io.WriteString(to, d.String())
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Name: Prefix + name, Mode: 0o600, Size: size}
}

const (
	tag  = `_manifests/tags/[\w][\w.-]{0,127}`
	hex  = `sha256/([0-9a-f]{64})`
	repo = `/docker/registry/v2/repositories/[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*`
)

var (
	blobName = regexp.MustCompile(`^/docker/registry/v2/blobs/sha256/([0-9a-f]{2})/([0-9a-f]{64})/data$`)
	linkName = regexp.MustCompile(`^` + repo + `/(?:_layers|_manifests/revisions|` + tag + `/index)/` + hex + `/link$`)
	tagName  = regexp.MustCompile(`^` + repo + `/` + tag + `/current/link$`)
)

// ErrForeign is returned by Restore for what no Writer has written.
var ErrForeign = errors.New("an image in it is not what it should be")

// Restore brings one file of an archive back into a registry's directory. What is none of images is left alone.
func Restore(root string, h *tar.Header, from io.Reader) error {
	name, ok := strings.CutPrefix(h.Name, Prefix+"/")
	if !ok {
		return nil
	}
	name = "/" + name
	switch link := linkName.FindStringSubmatch(name); {
	case h.Typeflag != tar.TypeReg || len(name) > 1024:
	case blobName.MatchString(name):
		return restoreBlob(root, name, from)
	case link != nil:
		return restoreLink(root, name, "sha256:"+link[1], from)
	case tagName.MatchString(name):
		return restoreLink(root, name, "", from)
	}
	return fmt.Errorf("%w: it has a file %.100q", ErrForeign, h.Name)
}

func restoreBlob(root, name string, from io.Reader) error {
	found := blobName.FindStringSubmatch(name)
	want := digest.NewDigestFromEncoded(digest.SHA256, found[2])
	target := filepath.Join(root, name)
	if !strings.HasPrefix(found[2], found[1]) {
		return fmt.Errorf("%w: it has a file %.100q", ErrForeign, name)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := durable.Create(target, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what was not kept
	check := want.Verifier()
	if _, err := io.Copy(io.MultiWriter(f, check), from); err != nil {
		return err
	}
	if !check.Verified() {
		return fmt.Errorf("%w: %s has another checksum", ErrForeign, want)
	}
	return f.Replace()
}

// restoreLink brings back a file that names a digest: that of its own name, unless want is empty.
func restoreLink(root, name, want string, from io.Reader) error {
	data, err := bound.ReadAll(from, maxLink)
	if err != nil {
		return err
	}
	d, err := digest.Parse(string(data))
	if err != nil || want != "" && d.String() != want {
		return fmt.Errorf("%w: %.100q names %.80q", ErrForeign, name, data)
	}
	target := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(target, data, 0o644)
}

// Move brings all files of one registry's directory into another, which keeps what it has.
func Move(from, to string) error {
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.Rename(p, target)
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(from)
}
