package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// TestLobby has calls answered in words while a node is set up, and by the node from when it serves: none is lost.
func TestLobby(t *testing.T) {
	t.Parallel()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	ask := func(path string) string {
		t.Helper()
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		c := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
		resp, err := c.Get("http://crawlbox/")
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return string(said)
	}
	for name, after := range map[string]time.Duration{"words": 0, "quick": time.Hour} {
		path := filepath.Join(t.TempDir(), "socket")
		ln, err := ListenSocket(path, "")
		if err != nil {
			t.Fatal(err)
		}
		l := newLobby(ln, says("not yet"), after)
		asked := make(chan string, 1)
		go func() { asked <- ask(path) }()
		if after == 0 {
			if said := <-asked; said != "not yet" {
				t.Errorf("%s: before it serves, it says %q", name, said)
			}
			asked <- "ready" // of below
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Serve(Site{Handler: says("ready")}, slog.New(slog.DiscardHandler), l).Run(ctx)
		}()
		if first := <-asked; first != "ready" {
			t.Errorf("%s: once it serves, it says %q", name, first)
		}
		for said := ask(path); said != "ready"; said = ask(path) {
			if said != "not yet" || after != 0 {
				t.Fatalf("%s: on its way to serve, it says %q", name, said)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			t.Errorf("%s: the socket is open after all", name)
		}
	}
}

// TestLobby_Closed: one that never came to serve leaves nothing behind.
func TestLobby_Closed(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Hour} {
		path := filepath.Join(t.TempDir(), "socket")
		ln, err := ListenSocket(path, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := newLobby(ln, http.NotFoundHandler(), after).Close(); err != nil {
			t.Error(err)
		}
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			t.Errorf("after %s: the socket is open", after)
		}
	}
}
