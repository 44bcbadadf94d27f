package history

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Documents is where the history is kept: a document for each service. All methods may be
// called at the same time.
type Documents interface {
	// Hashes returns the services that have a document; the hash changes with its content.
	Hashes() (map[string]string, error)
	// Load returns the document of a service that has one.
	Load(service string) ([]byte, error)
	// Update replaces the document of a service, which is nil where there is none, by what fn
	// makes of it; nil drops it. A power cut leaves the old one or the new one, and the new one once it has
	// returned. fn is called again where somebody else changes the document meanwhile; its
	// error is returned as it is.
	Update(service, message string, fn func(data []byte) ([]byte, error)) error
	// Changed returns a channel that is closed when there may be other documents.
	Changed() <-chan struct{}
}

// maxSize bounds the document of a service, in bytes: specs in it may be long.
const maxSize = 4 << 20

// Check returns why a document is none of a history.
func Check(data []byte) error {
	_, err := parse(data)
	return err
}

func parse(data []byte) (entries []Entry, err error) {
	if err = json.Unmarshal(data, &entries); err == nil {
		err = ordered(entries)
	}
	return entries, err
}

func decode(service string, data []byte) ([]Entry, error) {
	if data == nil {
		return nil, nil
	}
	entries, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("the deployment history of service %s is damaged (%w): restore the data directory from "+
			"a backup", service, err)
	}
	return entries, nil
}

// ordered checks what the rest of the package relies on.
func ordered(entries []Entry) error {
	last := 0
	for _, e := range entries {
		if e.Version <= last {
			return fmt.Errorf("version %d comes after version %d", e.Version, last)
		}
		last = e.Version
	}
	return nil
}

// encode writes entries, without the oldest where they are too long together. Stages have the
// names that versions before know, which may read them after a downgrade.
func encode(entries []Entry) ([]byte, error) {
	for {
		data, err := json.Marshal(older(entries))
		if err != nil || len(data) < maxSize {
			return append(data, '\n'), err
		}
		fewer := trim(entries, len(entries)-1)
		if len(fewer) == len(entries) || len(fewer) == 0 {
			return append(data, '\n'), nil
		}
		entries = fewer
	}
}

// older returns the entries with the stages as versions before called them.
func older(entries []Entry) []Entry {
	list := slices.Clone(entries)
	for i, e := range list {
		switch e.Stage {
		case StagePull:
			list[i].Stage = "stage"
		case StageUpdate:
			list[i].Stage = "flip"
		}
	}
	return list
}
