package home

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

// TestFits replaces a config file of comments alone, as an installation writes it, and none that sets anything.
func TestFits(t *testing.T) {
	t.Parallel()
	for own, want := range map[string]bool{
		"":                                 true,
		"# all keys\n\n  # log_level: x\n": true,
		"# a\nlog_level: warn\n":           false,
		"log_level: info # as there\n":     true,
	} {
		file := filepath.Join(t.TempDir(), "crawlbox.yaml")
		if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&taker{Config: configs.Config{File: file}}).fits([]byte("log_level: info # as there\n"))
		if (err == nil) != want {
			t.Errorf("%q: %v", own, err)
		}
	}
}

// TestFits_NoDirectory takes the move where the directory of the config can be made, and not where it can't.
func TestFits_NoDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := (&taker{Config: configs.Config{File: filepath.Join(dir, "etc", "c.yaml")}}).fits(nil); err != nil {
		t.Error(err)
	}
	if err := (&taker{Config: configs.Config{File: "/proc/crawlbox/c.yaml"}}).fits(nil); err == nil {
		t.Error("a config file that can't be written was taken")
	}
}

// TestFits_Asked answers before anything is moved as it does when it is, and changes nothing.
func TestFits_Asked(t *testing.T) {
	t.Parallel()
	own := machine(t, "log_level: warn\n")
	for what, tc := range map[string]struct {
		m    *setup.Machine
		p    payload
		want string
	}{
		"it fits":                {machine(t, ""), payload{[]byte("log_level: debug\n"), 1 << 10}, ""},
		"a config of its own":    {own, payload{[]byte("log_level: debug\n"), 0}, "has a config file of its own"},
		"the same config":        {own, payload{[]byte("log_level: warn\n"), 0}, ""},
		"a queue without room":   {machine(t, ""), payload{nil, 1 << 62}, "MB free"},
		"nothing that is a size": {machine(t, ""), payload{nil, -1}, "can't be read"},
		"too long a config":      {machine(t, ""), payload{make([]byte, maxText+1), 0}, "can't be read"},
	} {
		srv := httptest.NewTLSServer(AnswerFits(tc.m.Config, slog.New(slog.DiscardHandler)))
		to := agent.Target{Client: srv.Client(), Addr: netip.MustParseAddrPort(srv.Listener.Addr().String())}
		_, err := fitsCall.Ask(t.Context(), to, tc.p)
		srv.Close()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
	if files, err := os.ReadDir(own.Config.DataDir); err != nil || len(files) != 1 {
		t.Errorf("the other has %v, %v", files, err)
	}
}

// TestQueueSize counts the journal alone.
func TestQueueSize(t *testing.T) {
	t.Parallel()
	if size, err := queueSize(before(t).Config); err != nil || size != int64(len("items")) {
		t.Errorf("%d, %v", size, err)
	}
	if size, err := queueSize(machine(t, "").Config); err != nil || size != 0 {
		t.Errorf("without a queue: %d, %v", size, err)
	}
}

// TestAloud says how much was sent for as long as it is.
func TestAloud(t *testing.T) {
	t.Parallel()
	var said []string
	a := &aloud{Writer: io.Discard, say: func(text string) { said = append(said, text) }, to: "h2", last: time.Now()}
	for range 3 {
		if _, err := a.Write(make([]byte, 1e6)); err != nil {
			t.Fatal(err)
		}
	}
	a.last = time.Now().Add(-2 * sayEvery)
	_, err := a.Write(make([]byte, 1e6))
	if err != nil || len(said) != 1 || said[0] != "moving the queue to h2: 4 MB sent" {
		t.Errorf("said %q, %v", said, err)
	}
}
