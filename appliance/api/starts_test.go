package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// A call waits for a crawlbox that is about to serve, and for no other.
func TestClient_WaitsForAStart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := NewClient(socket)
	if _, err := c.CA(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("without a crawlbox: %v", err)
	}
	asked := 0
	c.Starts = func(context.Context) bool {
		asked++
		return asked < 3
	}
	if _, err := c.CA(t.Context()); !errors.Is(err, ErrNotRunning) || asked != 3 {
		t.Fatalf("where it gives up starting: %v, asked %d times", err, asked)
	}
	c.Starts = func(context.Context) bool {
		ln, err := net.Listen("unix", socket)
		if err != nil {
			t.Error(err)
			return false
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`"pem"`))
		})}
		t.Cleanup(func() { srv.Close() })
		go func() { _ = srv.Serve(ln) }()
		return true
	}
	if _, err := c.CA(t.Context()); errors.Is(err, ErrNotRunning) {
		t.Fatalf("where it starts: %v", err)
	}
}
