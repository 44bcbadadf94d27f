// Package layout finds what distribution keeps in the registry's directory, reads it, and
// mends what a crash left behind.
//
// It reads files directly: reads through distribution's driver would touch them, and a
// collection takes the times of files for what clients were told.
package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Where distribution keeps things. The layout is the same since its version 2
// and is described in distribution's registry/storage/paths.go.
const (
	BlobsPrefix = "/docker/registry/v2/blobs/"
	reposPrefix = "/docker/registry/v2/repositories/"
)

// Layout finds files in the data directory. Paths that begin with a slash are
// relative to the directory, as in distribution. Unlike reads through the driver,
// reads here touch nothing.
type Layout struct{ Root string }

// Abs returns the path of a file, which is named as in distribution.
func (l Layout) Abs(p string) string { return filepath.Join(l.Root, p) }

// RemoveAll removes a file, or a directory and what is in it.
func (l Layout) RemoveAll(p string) error { return os.RemoveAll(l.Abs(p)) }

func BlobDir(d digest.Digest) string {
	return path.Join(BlobsPrefix, d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

// BlobFile returns the path of a blob's content.
func (l Layout) BlobFile(d digest.Digest) string { return l.Abs(BlobDir(d) + "/data") }

func (l Layout) ReadBlob(d digest.Digest) ([]byte, error) { return os.ReadFile(l.BlobFile(d)) }

// RepoDir returns a directory of a repository, such as "_layers".
func RepoDir(name, kind string) string { return path.Join(reposPrefix, name, kind) }

// LayerDir returns the directory of a repository's link to a blob.
func LayerDir(repo string, d digest.Digest) string {
	return path.Join(RepoDir(repo, "_layers"), d.Algorithm().String(), d.Encoded())
}

// RevisionDir returns the directory of a repository's link to a manifest.
func RevisionDir(repo string, d digest.Digest) string {
	return path.Join(RepoDir(repo, "_manifests/revisions"), d.Algorithm().String(), d.Encoded())
}

func TagDir(repo, tag string) string { return path.Join(RepoDir(repo, "_manifests/tags"), tag) }

// ReadLink returns the digest in the link file of dir.
func (l Layout) ReadLink(dir string) (digest.Digest, error) {
	raw, err := os.ReadFile(l.Abs(dir + "/link"))
	if err != nil {
		return "", err
	}
	return digest.Parse(string(raw))
}

// List returns the names in dir, none if it is not there.
func (l Layout) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(l.Abs(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Repositories returns the names of all repositories, also of empty ones.
func (l Layout) Repositories(ctx context.Context) ([]string, error) {
	var repos []string
	root := l.Abs(reposPrefix)
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err := errors.Join(ctx.Err(), IgnoreGone(err)); err != nil {
			return err
		}
		if e == nil || !e.IsDir() || !strings.HasPrefix(e.Name(), "_") {
			return nil
		}
		name, _ := filepath.Rel(root, filepath.Dir(p))
		if len(repos) == 0 || repos[len(repos)-1] != name {
			repos = append(repos, name)
		}
		return fs.SkipDir
	})
	return repos, err
}

// Tags returns what the tags of a repository point at.
func (l Layout) Tags(repo string) (map[string]digest.Digest, error) {
	names, err := l.List(RepoDir(repo, "_manifests/tags"))
	if err != nil {
		return nil, err
	}
	tags := make(map[string]digest.Digest, len(names))
	for _, tag := range names {
		d, err := l.ReadLink(TagDir(repo, tag) + "/current")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &tagError{repo: repo, tag: tag, err: err}
		}
		tags[tag] = d
	}
	return tags, nil
}

// Digests returns those that dir has an entry for, as ALGORITHM/HEX.
func (l Layout) Digests(dir string) ([]digest.Digest, error) {
	var found []digest.Digest
	algorithms, err := l.List(dir)
	for _, alg := range algorithms {
		names, lerr := l.List(path.Join(dir, alg))
		err = errors.Join(err, lerr)
		for _, hex := range names {
			d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
			if d.Validate() == nil {
				found = append(found, d)
			}
		}
	}
	return found, err
}

func (l Layout) Blobs() ([]digest.Digest, error) {
	var found []digest.Digest
	algorithms, err := l.List(BlobsPrefix)
	for _, alg := range algorithms {
		prefixes, lerr := l.List(path.Join(BlobsPrefix, alg))
		err = errors.Join(err, lerr)
		for _, prefix := range prefixes {
			names, lerr := l.List(path.Join(BlobsPrefix, alg, prefix))
			err = errors.Join(err, lerr)
			for _, hex := range names {
				d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
				if d.Validate() == nil {
					found = append(found, d)
				}
			}
		}
	}
	return found, err
}

// IgnoreGone returns nil for a file that is not there, and any other error as it is.
func IgnoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tagError says that the file of a tag cannot be read.
type tagError struct {
	repo, tag string
	err       error
}

func (e *tagError) Error() string {
	return fmt.Sprintf("read tag %s:%s: %v; remove it with `crawlbox images rm %s:%s` and push it again",
		e.repo, e.tag, e.err, e.repo, e.tag)
}

func (e *tagError) Unwrap() error { return e.err }
