package audit

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// byStrangers lists the events that anybody can cause, with what they say of who did.
var byStrangers = map[string]func(n int) slog.Attr{
	"join refused":           func(n int) slog.Attr { return slog.String("remote", addrPort(n)) },
	"bootstrap refused":      func(n int) slog.Attr { return slog.String("remote", addrPort(n)) },
	"bootstrap":              func(n int) slog.Attr { return slog.String("remote", addrPort(n)) },
	"registry login":         func(n int) slog.Attr { return slog.String("from", addrPort(n)) },
	"registry login refused": func(n int) slog.Attr { return slog.String("from", addrPort(n)) },
	"renewal":                func(n int) slog.Attr { return slog.String("node", fmt.Sprint(n)) },
	"of tomorrow":            func(n int) slog.Attr { return slog.Int("unknown", n) },
}

func addrPort(n int) string {
	return fmt.Sprintf("10.%d.%d.%d:%d", n>>16&255, n>>8&255, n&255, 1024+n%60000)
}

// TestFlood_KeepsWhatOthersDid: what strangers cause, from one address or from many,
// pushes nothing of the others out of the log, and all of it is counted.
func TestFlood_KeepsWhatOthersDid(t *testing.T) {
	t.Parallel()
	for name, sources := range map[string]int{"one": 1, "many": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit.log")
			l := small(t, path, maxSize, slog.New(slog.DiscardHandler))
			l.Record("local-api", slog.String("call", "token"))
			const times = 4 * eventBurst
			for n := range times {
				for event, from := range byStrangers {
					l.Record(event, from(n%sources))
				}
			}
			l.Record("removal", slog.String("node", "x"))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got := lines(t, path)
			if most := len(byStrangers)*(eventBurst+2) + 2; len(got) > most {
				t.Errorf("%d lines for %d events, want %d at most", len(got), times*len(byStrangers), most)
			}
			count := map[any]int{}
			for _, line := range got {
				if n, ok := line["repeated"].(float64); ok {
					count[line["event"]] += int(n)
				} else {
					count[line["event"]]++
				}
			}
			for event := range byStrangers {
				if count[event] != times {
					t.Errorf("%d of %d times %q are told", count[event], times, event)
				}
			}
			if count["local-api"] != 1 || count["removal"] != 1 {
				t.Errorf("of what root did: %v", count)
			}
		})
	}
}

// TestFlood_ADay: a flood from everywhere that does not end makes so few lines that the
// files hold those of many weeks, and little memory.
func TestFlood_ADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, bytes := newFlood(), 0
		const days = 2
		n := 0
		for minute := range days * 24 * 60 {
			for range 20 {
				for event, from := range byStrangers {
					n++
					attrs := []slog.Attr{from(n), slog.String("error",
						"user or password is wrong: run docker login again with what crawlbox registry login issues")}
					if f.allow(event, attrs) {
						bytes += len(encode(time.Now(), event, attrs))
					}
				}
			}
			if minute%10 == 9 {
				for _, s := range f.summaries() {
					bytes += len(encode(time.Now(), s.event, s.attrs))
				}
			}
			time.Sleep(time.Minute)
		}
		if weeks := float64(maxSize*(keep+1)) / (float64(bytes) / days) / 7; weeks < 4 {
			t.Errorf("%d bytes in %d days: the files hold %.1f weeks", bytes, days, weeks)
		}
		if f.sources.Len() > maxSources || len(f.events) > maxEvents {
			t.Errorf("%d sources and %d events are remembered", f.sources.Len(), len(f.events))
		}
	})
}

// TestFlood_MadeUpEvents: also their names are bounded.
func TestFlood_MadeUpEvents(t *testing.T) {
	t.Parallel()
	f := newFlood()
	for n := range 10_000 {
		f.allow(fmt.Sprint("event", n), nil)
	}
	if len(f.events) > maxEvents+1 {
		t.Errorf("%d events are remembered", len(f.events))
	}
	e := f.event("event0")
	for n := range 3 * maxSources {
		f.allow("event0", []slog.Attr{slog.String("node", fmt.Sprint(n))})
		f.allow("event0", []slog.Attr{slog.String("node", fmt.Sprint(n))})
	}
	if len(e.from) > maxSources || e.held == 0 {
		t.Errorf("%d sources of %d events", len(e.from), e.held)
	}
}

func TestSourceOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want  string
		attrs []slog.Attr
	}{
		{"10.0.0.1/32", []slog.Attr{slog.String("remote", "10.0.0.1:7")}},
		{"2001:db8:1:2::/64", []slog.Attr{slog.String("name", "x"), slog.String("from", "[2001:db8:1:2::9]:7")}},
		{"n1", []slog.Attr{slog.String("remote", "10.0.0.1:7"), slog.String("node", "n1")}},
		{"", []slog.Attr{slog.String("name", "x")}},
	} {
		if got := sourceOf(c.attrs); got != c.want {
			t.Errorf("%v: %q, want %q", c.attrs, got, c.want)
		}
	}
}
