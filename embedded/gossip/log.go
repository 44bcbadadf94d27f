package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// logWriter turns memberlist's lines into records. Strangers can provoke its
// errors with a packet each, so none is an error of ours and warnings are
// limited.
type logWriter struct {
	log   *slog.Logger
	limit *rate.Limiter
	// of one address, that is warned of once: a node that was removed speaks with the old key until
	// somebody stops it
	sources *bound.Rate[netip.Addr]

	mu         sync.Mutex
	closed     bool
	suppressed int64
}

func newLogWriter(to *slog.Logger) *logWriter {
	return &logWriter{
		log:     to,
		limit:   rate.NewLimiter(rate.Every(30*time.Second), 5),
		sources: bound.NewRate[netip.Addr](sourceEvery, 1, maxSources),
	}
}

const (
	sourceEvery = 6 * time.Hour
	maxSources  = 1024
)

// close drops what comes later: memberlist's goroutines end some time after its
// Shutdown, and complain about closed sockets until then.
func (w *logWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// usual are lines that memberlist takes for warnings, but which say that it works:
// it corrects others about itself after every restart, and it tries TCP where a
// node does not answer. When a node is given up, the roster says so. A node that
// was removed is heard of until all have forgotten it, and a new one before it is known
// where it is.
var usual = [][]byte{[]byte("Refuting"), []byte(
	"Failed fallback TCP ping"), []byte(errRemoved.Error()), []byte(errUnknown.Error())}

func (w *logWriter) Write(line []byte) (int, error) {
	level, text := split(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || !w.log.Enabled(context.Background(), level) {
		return len(line), nil
	}
	if level >= slog.LevelWarn && !w.allows(text) {
		w.suppressed++
		return len(line), nil
	}
	var attrs []slog.Attr
	if w.suppressed > 0 {
		attrs = append(attrs, slog.Int64("suppressed", w.suppressed))
		w.suppressed = 0
	}
	w.log.LogAttrs(context.Background(), level, "gossip: "+string(text), attrs...)
	return len(line), nil
}

// allows reports whether a warning is told.
func (w *logWriter) allows(text []byte) bool {
	if from := source(text); from.IsValid() && !w.sources.Allow(from) {
		return false
	}
	return w.limit.Allow()
}

// source returns where what a line is about came from, if it says so.
func source(text []byte) netip.Addr {
	_, from, _ := bytes.Cut(text, []byte("from="))
	from, _, _ = bytes.Cut(from, []byte(" "))
	at, err := netip.ParseAddrPort(string(from))
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// split separates memberlist's "[WARN] memberlist: " from the text.
func split(line []byte) (slog.Level, []byte) {
	line = bytes.TrimSpace(line)
	level := slog.LevelDebug
	mark, text, found := bytes.Cut(line, []byte("] "))
	if !found {
		return level, line
	}
	switch string(mark) {
	case "[WARN", "[ERR", "[ERROR":
		level = slog.LevelWarn
	}
	if slices.ContainsFunc(usual, func(u []byte) bool { return bytes.Contains(text, u) }) {
		level = slog.LevelDebug
	}
	return level, bytes.TrimPrefix(text, []byte("memberlist: "))
}
