// Package backup is what brings a cluster back whose managers are lost: what there was (Content),
// sealed for the cluster's recovery key, and copies of it on a node's disk (Shelf).
//
// Whoever has a sealed copy and not the recovery key learns when which cluster was backed up, and how
// much it had. Whoever knows the public half of the key can seal something else, but not for the
// cluster: the private key of its CA is in what is sealed, and has to be that of the CA which the
// header names.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// MaxSealed is the most that a sealed backup without images has, in bytes.
	MaxSealed = 64 << 20
	// maxFile is the most that one of Content.Files has.
	maxFile = 4 << 20
	// maxListed is how many nodes, services, networks, configs and secrets there are at most, each.
	maxListed = 16384

	contentName = "content.json"
)

// Names in Content.Files.
const (
	ConfigFile    = "crawlbox.yaml"
	QueuePassword = "queue.password"
)

// Content is what a backup has of a cluster.
type Content struct {
	Format  int       `json:"format"`
	Cluster string    `json:"cluster"` // as in Header
	Epoch   int       `json:"epoch"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Version string    `json:"version"`

	Nodes     []Node            `json:"nodes"`     // of the swarm, by ID
	Documents map[string][]byte `json:"documents"` // of the cluster's state
	Objects   fleet.Objects     `json:"objects"`   // of the swarm
	Files     map[string][]byte `json:"files"`     // of the manager, by the names above or the path of an env_file
}

// Node is a node as Swarm knew it.
type Node struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	Addr         string            `json:"addr"`
	Role         string            `json:"role"`
	Availability string            `json:"availability"`
	Labels       map[string]string `json:"labels,omitempty"`
}

const format = 1

// Swarm is asked what there is in the swarm.
type Swarm interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Objects(ctx context.Context) (fleet.Objects, error)
}

// Source is where a manager finds what goes into a backup.
type Source struct {
	Swarm    Swarm
	DataDir  string
	Config   string   // path of the config file, which need not be there
	EnvFiles []string // that it names
	Node     string   // this one's name
	Version  string   // of crawlbox
}

// NewSource returns where a manager with a name finds it.
func NewSource(swarm Swarm, cfg configs.Config, node, version string) Source {
	return Source{swarm, cfg.DataDir, cfg.File, cfg.EnvFiles(), node, version}
}

// Read returns what there is now, and the cluster's recovery key.
func (s Source) Read(ctx context.Context) (c Content, key Key, err error) {
	view, docs, err := s.documents()
	if err == nil {
		key, err = LookKey(view)
	}
	if err != nil {
		return c, key, err
	}
	c = Content{
		Format:    format,
		Epoch:     view.Commit.Epoch,
		Time:      time.Now().UTC(),
		Node:      s.Node,
		Version:   s.Version,
		Documents: docs,
	}
	hash, err := pki.CAHash(c.Documents[state.CA])
	if err != nil {
		return c, key, state.Damaged(state.CA, err)
	}
	c.Cluster = hash.Hex()
	nodes, err := s.Swarm.Nodes(ctx)
	if err != nil {
		return c, key, fmt.Errorf("list the nodes: %w", err)
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, Node{n.ID, n.Name, n.Addr, n.Role, n.Availability, n.Labels})
	}
	if c.Objects, err = s.Swarm.Objects(ctx); err != nil {
		return c, key, fmt.Errorf("list what is in the swarm: %w", err)
	}
	c.Files, err = s.filesOf(c.Documents[state.HomeFiles])
	delete(c.Documents, state.HomeFiles)
	return c, key, err
}

// maxLooks bounds how often the state is read anew while it is changed all the time.
const maxLooks = 10

// documents returns the state, and all that it has. Where crawlbox removes what is old of it meanwhile, there is a
// newer one.
func (s Source) documents() (view *state.View, docs map[string][]byte, err error) {
	var before state.Version
	for range maxLooks {
		view, lookErr := state.Look(state.Dir(s.DataDir))
		if lookErr != nil {
			return nil, nil, lookErr
		}
		if view.Head == before {
			break // it is damaged
		}
		before, docs = view.Head, map[string][]byte{}
		for _, e := range view.Documents {
			if docs[e.Name], err = view.Document(e.Name); err != nil {
				break
			}
		}
		if err == nil {
			return view, docs, nil
		}
	}
	return nil, nil, err
}

// files reads those of the config. What is not there is left out.
func (s Source) files() (map[string][]byte, error) {
	files := map[string][]byte{}
	paths := map[string]string{ConfigFile: s.Config, QueuePassword: filepath.Join(s.DataDir, QueuePassword)}
	for _, path := range s.EnvFiles {
		paths[path] = path
	}
	for name, path := range paths {
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what belongs to the config: %w", err)
		}
		files[name] = data
	}
	return files, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := bound.ReadAll(f, maxFile)
	if errors.Is(err, bound.ErrTooLong) {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, err
}

// Header returns what everybody may know of the backup.
func (c Content) Header() (Header, error) {
	same := c
	same.Time, same.Node, same.Version = time.Time{}, "", ""
	text, err := json.Marshal(same)
	if err != nil {
		return Header{}, err
	}
	sum := sha256.Sum256(text)
	return Header{
		Cluster: c.Cluster,
		Epoch:   c.Epoch,
		Time:    c.Time.Truncate(time.Second),
		Node:    c.Node,
		Version: c.Version,
		Content: hex.EncodeToString(sum[:]),
	}, nil
}

// Write seals the backup to w. more, if not nil, adds what is kept beside it.
func (c Content) Write(w io.Writer, seal Seal, more func(*tar.Writer) error) error {
	h, err := c.Header()
	if err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	sealed, err := seal.Writer(w, h)
	if err != nil {
		return err
	}
	files := tar.NewWriter(sealed)
	err = files.WriteHeader(&tar.Header{Name: contentName, Mode: 0o600, Size: int64(len(text)), ModTime: h.Time})
	if err == nil {
		_, err = files.Write(text)
	}
	if err == nil && more != nil {
		err = more(files)
	}
	if err != nil {
		return err
	}
	return errors.Join(files.Close(), sealed.Close())
}

// Read opens a sealed backup to its end. more, if not nil, is given each file that is kept beside it.
// The error is one of those of Key.Open; what was read before it is not to be used.
func Read(sealed io.Reader, key Key, more func(*tar.Header, io.Reader) error) (c Content, err error) {
	h, opened, err := key.Open(sealed)
	if err != nil {
		return c, err
	}
	files := tar.NewReader(opened)
	entry, err := files.Next()
	if err != nil || entry.Name != contentName || entry.Size > MaxSealed {
		return c, unreadable(err)
	}
	if err := bound.JSON(files, MaxSealed, &c); err != nil {
		return c, unreadable(err)
	}
	if err := c.check(h); err != nil {
		return c, err
	}
	for {
		switch entry, err = files.Next(); {
		case errors.Is(err, io.EOF):
			if _, err = io.Copy(io.Discard, opened); err != nil { // which comes to the last chunk
				return c, unreadable(err)
			}
			return c, nil
		case err != nil:
			return c, unreadable(err)
		case more != nil:
			if err := more(entry, files); err != nil {
				return c, err
			}
		}
	}
}

// unreadable is the error of a backup that was opened and is not what it should be.
func unreadable(err error) error {
	if errors.Is(err, ErrDamaged) {
		return ErrDamaged
	}
	return fmt.Errorf("%w: what was sealed is not what this version of crawlbox writes", ErrDamaged)
}

// check refuses a content that is not what its header says, or more than it may be.
func (c Content) check(h Header) error {
	if c.Format > format {
		return fmt.Errorf("%w: update crawlbox on this machine", ErrNewer)
	}
	hash, err := pki.CAHash(c.Documents[state.CA])
	if err != nil || hash.Hex() != h.Cluster || c.Cluster != h.Cluster || c.Epoch != h.Epoch {
		return fmt.Errorf("%w: it is not of the cluster that it names", ErrDamaged)
	}
	sizes := []int{
		len(c.Nodes), len(c.Documents), len(c.Objects.Services), len(c.Objects.Networks), len(c.Objects.Configs),
		len(c.Objects.Secrets), len(c.Files),
	}
	if slices.Max(sizes) > maxListed {
		return fmt.Errorf("%w: it has more than %d of something", ErrDamaged, maxListed)
	}
	return nil
}

// String sums up what is in a backup.
func (c Content) String() string {
	return fmt.Sprintf("%s, %s, %s, %s and %s of cluster %.16s", words.Count(len(c.Documents), "document"),
		words.Count(len(c.Objects.Services), "service"), words.Count(len(c.Objects.Networks), "network"),
		words.Count(len(c.Objects.Configs), "config"), words.Count(len(c.Nodes), "node"), c.Cluster)
}

// Paths returns the paths of the env_files that are in the backup.
func (c Content) Paths() []string {
	own := func(name string) bool { return !filepath.IsAbs(name) }
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.Files)), own)
}
