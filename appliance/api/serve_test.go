package api_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

var now = time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve returns a client of b over a unix socket of its own, and the socket.
func serve(t *testing.T, b apitest.Backend, log *slog.Logger) (*api.Client, string) {
	t.Helper()
	return serveHandler(t, apitest.Handler(b, nil, log))
}

func serveHandler(t *testing.T, h http.Handler) (*api.Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cb") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ConnContext: api.ConnContext, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
		_ = os.RemoveAll(dir)
	})
	return api.NewClient(socket), socket
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
