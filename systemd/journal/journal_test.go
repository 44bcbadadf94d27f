package journal

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	var message string
	var level journal.Priority
	var fields map[string]string
	h := New(slog.LevelInfo)
	h.send = func(m string, p journal.Priority, vars map[string]string) error {
		message, level, fields = m, p, vars
		return nil
	}
	log := slog.New(h).With("part", "registry")
	log.Warn("pull failed", "error", errors.New("no such image"), "took", 2*time.Second, "data-dir", "/x", "größe", 3)
	if want := `pull failed part=registry error="no such image" took=2s data-dir=/x größe=3`; message != want {
		t.Errorf("the text is %q, want %q", message, want)
	}
	if level != journal.PriWarning {
		t.Errorf("the level is %d", level)
	}
	want := map[string]string{
		"CRAWLBOX_PART":     "registry",
		"CRAWLBOX_ERROR":    "no such image",
		"CRAWLBOX_TOOK":     "2s",
		"CRAWLBOX_DATA_DIR": "/x",
		"CRAWLBOX_GR__E":    "3",
	}
	if !maps.Equal(fields, want) {
		t.Errorf("the fields are %v", fields)
	}
	message = ""
	log.Debug("not this")
	if message != "" {
		t.Errorf("%q was logged", message)
	}
	log.Error("bare")
	if message != "bare part=registry" || level != journal.PriErr {
		t.Errorf("got %d %q", level, message)
	}
}

func TestIs_NotAPipe(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "1:2")
	if Is(&bytes.Buffer{}) || Is(os.Stderr) {
		t.Error("what is no journal is taken for one")
	}
}
