package state

import "fmt"

// View is the state in a directory as it was at one moment, for people.
type View struct {
	Head      Version
	Commit    Commit
	Documents []Entry
	dir       string
	tree      tree
}

// Look reads the state in a directory and changes nothing. The error is ErrNotFound where
// there is none.
func Look(dir string) (*View, error) {
	list, err := load(dir, headFile)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s keeps none of the cluster's state: look on a manager (%w)", dir, ErrNotFound)
	}
	head := list[len(list)-1]
	return &View{
		Head:      head.id,
		Commit:    head.Commit,
		Documents: head.Tree.list(""),
		dir:       dir,
		tree:      head.Tree,
	}, nil
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
