// Package journal writes log records to systemd's journal in its own protocol, so
// that they keep their level and their fields: `journalctl -p warning -u crawlbox`,
// `journalctl CRAWLBOX_SERVICE=spider`.
//
// A record's attributes stand in its text too, as journalctl shows nothing else
// unless it is asked.
package journal

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"
)

// prefix keeps the fields of records apart from the journal's own.
const prefix = "CRAWLBOX_"

// Is reports whether w is this process's standard error, and that goes to the journal.
func Is(w io.Writer) bool {
	if w != io.Writer(os.Stderr) {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return is && err == nil
}

// ErrorPrefix makes a line on standard error one of level error, see
// sd-daemon(3).
const ErrorPrefix = "<3>"

// Handler is a slog.Handler that writes to the journal.
type Handler struct {
	level slog.Leveler
	attrs []slog.Attr
	send  func(message string, p journal.Priority, vars map[string]string) error
}

// New returns a handler for records from level on.
func New(level slog.Leveler) *Handler { return &Handler{level: level, send: journal.Send} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(with.attrs[:len(with.attrs):len(with.attrs)], attrs...)
	return &with
}

// WithGroup implements slog.Handler. Groups are not kept: crawlbox has none.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	attrs := h.attrs[:len(h.attrs):len(h.attrs)]
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	vars := map[string]string{}
	for _, a := range attrs {
		if name := field(a.Key); name != "" {
			vars[name] = a.Value.Resolve().String()
		}
	}
	return h.send(text(r.Message, attrs), priority(r.Level), vars)
}

// text returns the message with its attributes, as slog's own text has them.
func text(message string, attrs []slog.Attr) string {
	var b bytes.Buffer
	only := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == slog.TimeKey) {
			return slog.Attr{}
		}
		return a
	}})
	r := slog.Record{}
	r.AddAttrs(attrs...)
	_ = only.Handle(context.Background(), r) // to memory
	return strings.TrimSpace(message + " " + strings.TrimSpace(b.String()))
}

// field returns the journal's name for an attribute; empty if it can have none.
func field(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return unicode.ToUpper(r)
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	if name == "" || len(prefix+name) > 64 { // the journal's bound
		return ""
	}
	return prefix + name
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
