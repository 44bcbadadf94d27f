package state

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
)

// View is the state in a directory as it was at one moment, for people.
type View struct {
	Head      Version
	Commit    Commit
	Documents []Entry
	objects   objects
}

// Look reads the state in a directory and changes nothing. The error is ErrNotFound where
// there is none.
func Look(dir string) (*View, error) {
	list, err := load(dir)
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
		objects:   objects{filepath.Join(dir, "objects")},
	}, nil
}

// Document returns the content of a document.
func (v *View) Document(name string) ([]byte, error) {
	for _, e := range v.Documents {
		if e.Name == name {
			return v.objects.get(e.Hash)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
}

const redacted = "••••"

var (
	privateKey = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----\n).*?(\n-----END)`)
	secretKey  = map[string]bool{"secret": true, "keys": true, "next": true, "hash": true, "password": true}
)

// Redact returns a document with dots in place of private keys and secrets.
func Redact(data []byte) []byte {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return privateKey.ReplaceAll(data, []byte("${1}"+redacted+"${2}"))
	}
	out, err := json.MarshalIndent(redact(v), "", "  ")
	if err != nil {
		return []byte(redacted)
	}
	return append(out, '\n')
}

func redact(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = redact(v[i])
		}
	case map[string]any:
		for key, value := range v {
			if v[key] = redact(value); secretKey[key] {
				v[key] = redacted
			}
		}
	}
	return v
}
