package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// secretFile and secretDir are the modes of all files and directories.
const (
	secretFile = 0o600
	secretDir  = 0o700
)

// snapshot is a commit with its ID. It has a file of that name:
//
//	ID, the SHA-256 of what follows
//	the record in a line of JSON
//	the contents of the documents that it changes, one after the other
//
// So it waits for the disk once, however many documents it changes.
type snapshot struct {
	id Version
	record
}

type record struct {
	Commit
	Tree tree `json:"tree"`
}

type tree map[string]blob

// blob is the content of a document, so many bytes before the end of a commit's file.
type blob struct {
	Hash string  `json:"hash"`
	Size int     `json:"size"`
	In   Version `json:"in,omitempty"` // the commit; empty in its own file
	Back int     `json:"back"`
}

var commitName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// isCommit reports whether a file is called as those of commits are.
func isCommit(name string) bool { return commitName.MatchString(name) }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// next returns the commit that makes changes after s, and its file. Where they change nothing it
// is s, without a file.
func (s snapshot) next(about Commit, changes Contents) (next snapshot, file []byte, err error) {
	about.Parent, about.Epoch = s.id, max(about.Epoch, s.Epoch)
	next = snapshot{record: record{Commit: about, Tree: maps.Clone(s.Tree)}}
	if next.Tree == nil {
		next.Tree = tree{}
	}
	var parts [][]byte // from the end of the file
	back := 0
	for name, data := range changes {
		hash := hashOf(data)
		switch {
		case data == nil:
			delete(next.Tree, name)
		case next.Tree[name].Hash != hash:
			back += len(data)
			next.Tree[name] = blob{Hash: hash, Size: len(data), Back: back}
			parts = append(parts, data)
		}
	}
	if len(next.Tree) > MaxDocuments {
		return s, nil, fmt.Errorf("there would be %d documents, the limit is %d", len(next.Tree), MaxDocuments)
	}
	if s.id != "" && maps.Equal(next.Tree, s.Tree) && about.Epoch == s.Epoch {
		return s, nil, nil
	}
	line, err := json.Marshal(next.record)
	if err != nil {
		return s, nil, err
	}
	parts = append(parts, append(line, '\n'))
	slices.Reverse(parts)
	rest := bytes.Join(parts, nil)
	next.named(hashOf(rest))
	return next, append([]byte(next.id+"\n"), rest...), nil
}

// named sets the ID of a commit, which its own contents are in.
func (s *snapshot) named(id string) {
	s.id = Version(id)
	for name, b := range s.Tree {
		if b.In == "" {
			b.In = s.id
			s.Tree[name] = b
		}
	}
}

// readCommit reads the file of a commit, which has to be whole.
func readCommit(path string) (s snapshot, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	id, rest, _ := bytes.Cut(data, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if hashOf(rest) != string(id) || json.Unmarshal(line, &s.record) != nil {
		return s, fmt.Errorf("%s does not hold what it should", path)
	}
	s.named(string(id))
	return s, nil
}

// read returns the content, which has to be what its hash says.
func (b blob) read(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, string(b.In)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", filepath.Join(dir, string(b.In)))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at := info.Size() - int64(b.Back)
	if at < 0 || b.Size < 0 || b.Size > b.Back {
		return nil, fmt.Errorf("%s is cut short", f.Name())
	}
	data := make([]byte, b.Size)
	if _, err := f.ReadAt(data, at); err != nil {
		return nil, err
	}
	if hashOf(data) != b.Hash {
		return nil, fmt.Errorf("%s does not hold what it should", f.Name())
	}
	return data, nil
}

// load reads the commits up to that of a file, the oldest first.
func load(dir, file string) ([]snapshot, error) {
	s, err := readCommit(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, headless(dir)
	}
	if err != nil {
		return nil, damaged(dir, err)
	}
	list := []snapshot{s}
	for s.Parent != "" && len(list) < keepCommits {
		if s, err = readCommit(filepath.Join(dir, string(s.Parent))); err != nil {
			break // older ones are gone, and of use to nobody
		}
		list = append(list, s)
	}
	slices.Reverse(list)
	return list, nil
}

// headless returns an error where commits have lost their head, which would be swept away as if
// there were none. One without a parent may be what a power cut has left of the first, and a manager
// that is new has commits of others before it has a head.
func headless(dir string) error {
	for _, name := range []string{newFile, headFile} { // which a commit puts in its place just now
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range list {
		if !isCommit(e.Name()) {
			continue
		}
		if s, err := readCommit(filepath.Join(dir, e.Name())); err != nil || s.Parent != "" {
			return damaged(dir, fmt.Errorf("%s is missing, and commits are there", headFile))
		}
	}
	return nil
}

// damaged is the error for a store that can't be read. Nothing is made anew in its place.
func damaged(dir string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a backup; or move it away and start crawlbox again, which "+
		"takes the state over from the files beside it", dir, err)
}

func (t tree) list(prefix string) []Entry {
	var list []Entry
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, prefix) {
			list = append(list, Entry{Name: name, Size: t[name].Size, Hash: t[name].Hash})
		}
	}
	return list
}

type versions map[Version]bool

// sweep removes the commits of an age, or that are past, or that can't become the newest any more, which none of the
// others needs, and what a power cut has left of files that were being written. It forgets what is past and gone.
func sweep(dir string, others []snapshot, past versions, age time.Duration) error {
	kept, before := versions{}, versions{}
	for i, s := range others {
		kept[s.id] = true
		for _, b := range s.Tree {
			kept[b.In] = true
		}
		if i < len(others)-1 {
			before[s.id] = true
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		v, path := Version(e.Name()), filepath.Join(dir, e.Name())
		if !isCommit(e.Name()) && !durable.Leftover(e.Name()) || kept[v] {
			continue
		}
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age && !past[v] && !lost(path, before) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	maps.DeleteFunc(past, func(v Version, _ bool) bool { return !kept[v] })
	return nil
}

// lost reports whether the commit in a file is on one after which another was made the newest.
func lost(path string, before versions) bool {
	s, err := readCommit(path)
	return err == nil && before[s.Parent]
}
