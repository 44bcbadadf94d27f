package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Repair removes what a crash in the middle of a push left behind: temporary
// files, and tags that do not point anywhere yet. Uploads stay, their clients
// may go on with them. No request may run.
func (l Layout) Repair(ctx context.Context) error {
	if err := l.removeTemporary(ctx); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	repos, err := l.Repositories(ctx)
	if err != nil {
		return fmt.Errorf("list repositories: %w", err)
	}
	for _, repo := range repos {
		tags, err := l.List(RepoDir(repo, "_manifests/tags"))
		if err != nil {
			return fmt.Errorf("list tags of %s: %w", repo, err)
		}
		for _, tag := range tags {
			if err := l.DropDangling(TagDir(repo, tag)); err != nil {
				return fmt.Errorf("remove half-pushed tag %s:%s: %w", repo, tag, err)
			}
		}
	}
	return nil
}

func (l Layout) removeTemporary(ctx context.Context) error {
	return filepath.WalkDir(l.Root, func(p string, e fs.DirEntry, err error) error {
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
		if e.Type().IsRegular() && temporary(e.Name()) {
			return os.Remove(p)
		}
		return nil
	})
}

// temporary reports whether a file with this name was being written: by durable, or by
// distribution and earlier versions.
func temporary(name string) bool {
	return durable.Leftover(name) || strings.HasSuffix(name, ".tmp")
}

// DropDangling removes a tag's directory if the tag points nowhere: distribution
// would list the tag and not find it.
func (l Layout) DropDangling(tag string) error {
	_, err := os.Stat(l.Abs(tag + "/current/link"))
	if errors.Is(err, fs.ErrNotExist) {
		return l.RemoveAll(tag)
	}
	return err
}

// PruneEmpty removes the directories beneath dir, and dir, that hold no file.
func (l Layout) PruneEmpty(dir string) error {
	names, err := l.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := dir + "/" + name
		if fi, err := os.Lstat(l.Abs(p)); err != nil || !fi.IsDir() {
			continue
		}
		if err := l.PruneEmpty(p); err != nil {
			return err
		}
	}
	_ = os.Remove(l.Abs(dir)) // refused for a directory that is not empty
	return nil
}
