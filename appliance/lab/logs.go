package lab

import (
	"context"
	"os"
	"strings"
	"time"
)

// logTail bounds what is shown of each log when a test fails, in bytes.
const logTail = 8 << 10

// reportLogs shows the ends of all logs if the test has failed.
func (l *Lab) reportLogs() {
	if !l.t.Failed() {
		return
	}
	for _, h := range l.Hosts() {
		shown := map[string]bool{}
		for _, p := range h.started() {
			if !shown[p.log] {
				shown[p.log] = true
				l.t.Logf("host %s: end of %s's log:\n%s", h.name, p.name, tail(p.log))
			}
		}
		if h.spec.systemd {
			l.t.Logf("host %s: end of the console:\n%s", h.name, tail(h.console()))
			l.t.Logf("host %s: end of the journal:\n%s", h.name, h.journal())
		}
	}
}

func (h *Host) journal() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := h.Exec(ctx, "journalctl", "--no-pager", "--lines=60", "--output=cat")
	return r.Stdout + r.Stderr
}

func (h *Host) started() []*Proc {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Proc(nil), h.procs...)
}

// tail returns the last whole lines of a file, logTail bytes at most.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) <= logTail {
		return strings.ToValidUTF8(string(text), "?")
	}
	_, rest, _ := strings.Cut(string(text[len(text)-logTail:]), "\n")
	return "…\n" + strings.ToValidUTF8(rest, "?")
}
