package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// homeFiles is a document: the files of the home of the queue. A cluster is restored with these, also where another
// manager, which has no queue, makes its backups.
type homeFiles struct {
	Node  string            `json:"node"` // whose they are
	Files map[string][]byte `json:"files"`
}

// shareEvery is how often the files are looked at.
const shareEvery = 30 * time.Second

// Share has backups of all managers have the files of this one, until ctx ends.
func (s Source) Share(ctx context.Context, doc *state.Document, log *slog.Logger) error {
	for {
		if err := s.share(doc); err != nil {
			log.Debug("failed to share the files that go into backups", "error", err)
		}
		if clock.Sleep(ctx, shareEvery) != nil {
			return nil
		}
	}
}

func (s Source) share(doc *state.Document) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	data, err := json.Marshal(homeFiles{s.Node, files})
	if err != nil {
		return err
	}
	if have, err := doc.Load(); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return doc.Update("share the files that go into backups", func([]byte) ([]byte, error) { return data, nil })
}

// filesOf returns the files of the home of the queue by a document, or this manager's own where it is that or nothing
// is known of another.
func (s Source) filesOf(shared []byte) (map[string][]byte, error) {
	var home homeFiles
	if shared == nil || json.Unmarshal(shared, &home) != nil || home.Node == s.Node {
		return s.files()
	}
	return home.Files, nil
}
