package registry

import (
	"context"
	"errors"
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
	blobsPrefix = "/docker/registry/v2/blobs/"
	reposPrefix = "/docker/registry/v2/repositories/"
)

// layout finds files in the data folder. Paths that begin with a slash are
// relative to the folder, as in distribution. Unlike reads through the driver,
// reads here touch nothing.
type layout struct{ root string }

func (l layout) abs(p string) string { return filepath.Join(l.root, p) }

func (l layout) removeAll(p string) error { return os.RemoveAll(l.abs(p)) }

func blobDir(d digest.Digest) string {
	return path.Join(blobsPrefix, d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

func (l layout) blobFile(d digest.Digest) string { return l.abs(blobDir(d) + "/data") }

func (l layout) readBlob(d digest.Digest) ([]byte, error) { return os.ReadFile(l.blobFile(d)) }

func repoDir(name, kind string) string { return path.Join(reposPrefix, name, kind) }

func layerDir(repo string, d digest.Digest) string {
	return path.Join(repoDir(repo, "_layers"), d.Algorithm().String(), d.Encoded())
}

func revisionDir(repo string, d digest.Digest) string {
	return path.Join(repoDir(repo, "_manifests/revisions"), d.Algorithm().String(), d.Encoded())
}

func tagDir(repo, tag string) string { return path.Join(repoDir(repo, "_manifests/tags"), tag) }

// readLink returns the digest in the link file of dir.
func (l layout) readLink(dir string) (digest.Digest, error) {
	raw, err := os.ReadFile(l.abs(dir + "/link"))
	if err != nil {
		return "", err
	}
	return digest.Parse(string(raw))
}

// list returns the names in dir, none if it is not there.
func (l layout) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(l.abs(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// repositories returns the names of all repositories, also of empty ones.
func (l layout) repositories(ctx context.Context) ([]string, error) {
	var repos []string
	root := l.abs(reposPrefix)
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err := errors.Join(ctx.Err(), ignoreGone(err)); err != nil {
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

// tags returns what the tags of a repository point at.
func (l layout) tags(repo string) (map[string]digest.Digest, error) {
	names, err := l.list(repoDir(repo, "_manifests/tags"))
	if err != nil {
		return nil, err
	}
	tags := make(map[string]digest.Digest, len(names))
	for _, tag := range names {
		d, err := l.readLink(tagDir(repo, tag) + "/current")
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

// digests returns those that dir has an entry for, as ALGORITHM/HEX.
func (l layout) digests(dir string) ([]digest.Digest, error) {
	var found []digest.Digest
	algorithms, err := l.list(dir)
	for _, alg := range algorithms {
		names, lerr := l.list(path.Join(dir, alg))
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

// blobs returns the digests of all blobs.
func (l layout) blobs() ([]digest.Digest, error) {
	var found []digest.Digest
	algorithms, err := l.list(blobsPrefix)
	for _, alg := range algorithms {
		prefixes, lerr := l.list(path.Join(blobsPrefix, alg))
		err = errors.Join(err, lerr)
		for _, prefix := range prefixes {
			names, lerr := l.list(path.Join(blobsPrefix, alg, prefix))
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

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
