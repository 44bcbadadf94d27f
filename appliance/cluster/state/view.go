package state

import (
	"fmt"
	"maps"
	"slices"
)

// View is the state in a directory as it was at one moment, for people.
type View struct {
	Head      Version
	Commit    Commit
	Documents []Entry
	Changed   []string // by the commit; nil where the one before is not kept
	dir       string
	tree      tree
}

// Look reads the state in a directory and changes nothing. The error is ErrNotFound where
// there is none.
func Look(dir string) (*View, error) {
	views, err := Log(dir)
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// Log reads the state in a directory as it was after each of the last commits, the newest first, and changes
// nothing. There is one at least; the error is ErrNotFound where there is no state.
func Log(dir string) ([]*View, error) {
	list, err := load(dir, headFile)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s keeps none of the cluster's state: look on a manager (%w)", dir, ErrNotFound)
	}
	var views []*View
	before := tree{} // of the oldest, which may have had a parent
	for i, s := range list {
		v := &View{Head: s.id, Commit: s.Commit, Documents: s.Tree.list(""), dir: dir, tree: s.Tree}
		if i > 0 || s.Parent == "" {
			v.Changed = changedIn(before, s.Tree)
		}
		before = s.Tree
		views = append(views, v)
	}
	slices.Reverse(views)
	return views, nil
}

// changedIn returns the names of the documents that differ between two trees, sorted.
func changedIn(was, is tree) []string {
	names := map[string]bool{}
	for _, t := range []tree{was, is} {
		for name := range t {
			if was[name].Hash != is[name].Hash {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Document returns the content of a document.
func (v *View) Document(name string) ([]byte, error) {
	b, ok := v.tree[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	data, err := b.read(v.dir)
	if err != nil {
		return nil, fmt.Errorf("read %s of the cluster's state: %w", name, damaged(v.dir, err))
	}
	return data, nil
}
