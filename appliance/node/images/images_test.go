package images

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFew: what managers have not is asked for over few connections to each node, however much that is.
func TestFew(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	full, release := make(chan struct{}), make(chan struct{})
	node := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == maxConns {
			close(full)
		}
		<-release
	}))
	defer node.Close()
	client := few(&http.Client{Transport: &http.Transport{}})
	defer client.CloseIdleConnections()
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, node.URL, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	var all sync.WaitGroup
	for range maxConns {
		all.Go(func() {
			if err := ask(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	<-full
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := ask(ctx); err == nil || asked.Load() != maxConns {
		t.Errorf("one more: %v, %d questions at a time, want %d", err, asked.Load(), maxConns)
	}
	close(release)
	all.Wait()
}
