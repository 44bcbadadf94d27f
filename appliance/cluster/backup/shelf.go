package backup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Kept is how many copies of a cluster a node keeps: the newest.
const Kept = 3

// suffix ends the names of sealed backups on a shelf.
const suffix = ".crawlbox-backup"

// ErrOutdated is returned by Shelf.Put for a backup that was made before the cluster was restored.
var ErrOutdated = errors.New("the backup is of an older epoch than one that is here: the cluster was restored since")

// Shelf is a directory with sealed copies. Its methods may be called at the same time.
type Shelf struct {
	Dir string

	mu sync.Mutex
}

// NewShelf returns the shelf of a node with a data directory.
func NewShelf(dataDir string) *Shelf { return &Shelf{Dir: filepath.Join(dataDir, "backups")} }

// Clear removes all copies.
func (s *Shelf) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("remove the backups: %w", err)
	}
	return nil
}

// Copy is one on a shelf.
type Copy struct {
	Header
	Size int64  `json:"size"` // bytes
	File string `json:"-"`    // its path
}

// List returns the copies that are there, the newest first. What is none is left out.
func (s *Shelf) List() (list []Copy, err error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the backups: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if c, err := look(filepath.Join(s.Dir, e.Name())); err == nil {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Copy) int {
		return cmp.Or(cmp.Compare(b.Epoch, a.Epoch), b.Time.Compare(a.Time))
	})
	return list, nil
}

func look(path string) (Copy, error) {
	f, err := os.Open(path)
	if err != nil {
		return Copy{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Copy{}, err
	}
	h, err := ReadHeader(f)
	return Copy{h, info.Size(), path}, err
}

// Read returns a sealed copy.
func (c Copy) Read() ([]byte, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bound.ReadAll(f, MaxSealed)
}

// Put keeps a sealed backup of a cluster, and of those that are there the newest. The error is
// ErrNotBackup, ErrOutdated or that it is of another cluster.
func (s *Shelf) Put(cluster string, sealed []byte) error {
	h, err := ReadHeader(bytes.NewReader(sealed))
	switch {
	case err != nil:
		return err
	case h.Cluster != cluster:
		return errors.New("the backup is of another cluster")
	case len(sealed) > MaxSealed:
		return TooLarge(len(sealed))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.List()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(c Copy) bool { return c.Cluster != cluster })
	if len(list) > 0 && list[0].Epoch > h.Epoch {
		return ErrOutdated
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("keep a backup: %w", err)
	}
	path := filepath.Join(s.Dir, FileName(h))
	if err := errors.Join(durable.Sweep(path), durable.WriteFile(path, sealed, 0o600)); err != nil {
		return fmt.Errorf("keep a backup: %w", err)
	}
	for i, c := range slices.DeleteFunc(list, func(c Copy) bool { return c.File == path }) {
		if i >= Kept-1 {
			if err := durable.Remove(c.File); err != nil {
				return fmt.Errorf("remove an old backup: %w", err)
			}
		}
	}
	return nil
}

// FileName returns what the file of a sealed backup is called: those of a cluster in the order in
// which they were made.
func FileName(h Header) string {
	return fmt.Sprintf("%.16s-%05d-%s%s", h.Cluster, h.Epoch, h.Time.UTC().Format("20060102T150405Z"), suffix)
}

// TooLarge is the error of a backup of so many bytes.
func TooLarge(n int) error {
	return fmt.Errorf("the backup has %d bytes, the limit is %d; take services away that are no longer needed, "+
		"and with them their history", n, MaxSealed)
}

// Sealed seals a content into memory. The error is TooLarge where there is too much of it.
func (c Content) Sealed(seal Seal) ([]byte, error) {
	var out bytes.Buffer
	if err := c.Write(&out, seal, nil); err != nil {
		return nil, err
	}
	if out.Len() > MaxSealed {
		return nil, TooLarge(out.Len())
	}
	return out.Bytes(), nil
}

// Holder is a node that keeps copies.
type Holder struct {
	Node   fleet.Node
	Copies []Copy // the newest first
	Err    error  // why it did not say
}

// Has reports whether the newest backup that a node keeps has a content.
func (h Holder) Has(content string) bool { return len(h.Copies) > 0 && h.Copies[0].Content == content }
