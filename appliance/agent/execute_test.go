package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

// program is one that engine.Exec starts.
type program struct{ name string }

func (program) Write(p []byte) (int, error)                 { return len(p), nil }
func (program) CloseInput() error                           { return nil }
func (program) Resize(context.Context, taskexec.Size) error { return nil }
func (p program) ExitCode(context.Context) (int, error)     { return len(p.name), nil }
func (program) Close() error                                { return nil }
func (p program) Output(stdout, _ io.Writer) error {
	_, err := io.WriteString(stdout, p.name)
	return err
}

// TestExecute runs a program here and on another node.
func TestExecute(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	r := taskexec.Request{Task: "t", Command: []string{"ls"}}
	for _, n := range []fleet.Node{c.here, c.there} {
		conn, err := c.peers.Execute(t.Context(), n, r)
		if err != nil {
			t.Fatalf("%s: %v", n.Display, err)
		}
		var out bytes.Buffer
		code, err := taskexec.Run(t.Context(), conn, taskexec.Streams{Out: &out, Err: io.Discard})
		if code != 2 || err != nil || out.String() != "ls" {
			t.Errorf("%s: %d, %v, %q", n.Display, code, err, out.String())
		}
		if _, err := c.peers.Execute(t.Context(), n, taskexec.Request{Task: "t"}); err == nil {
			t.Errorf("%s: it runs nothing", n.Display)
		}
	}
	c.engine.err = swarm.ErrNotFound
	for _, n := range []fleet.Node{c.here, c.there} {
		_, err := c.peers.Execute(t.Context(), n, r)
		var status *StatusError
		if !errors.Is(err, swarm.ErrNotFound) && !(errors.As(err, &status) && status.Code == http.StatusNotFound) {
			t.Errorf("%s: got %v", n.Display, err)
		}
	}
}

// TestExecute_Bound: a node runs so many at a time, and says so of more.
func TestExecute_Bound(t *testing.T) {
	t.Parallel()
	var x executing
	c := newCluster(t, func(c *cluster) http.Handler {
		for _, h := range c.handlers {
			if h, ok := h.(executing); ok {
				x = h
			}
		}
		return Port(c.id, c.handlers)
	})
	for range maxPrograms {
		x.places <- struct{}{}
	}
	for _, n := range []fleet.Node{c.here, c.there} {
		_, err := c.peers.Execute(t.Context(), n, taskexec.Request{Task: "t", Command: []string{"ls"}})
		if err == nil || !strings.Contains(err.Error(), "64 programs run already") {
			t.Errorf("%s: got %v", n.Display, err)
		}
	}
	for _, body := range []string{"", "[", `{"task":"t"}`, `{"task":"t","command":[""]}`,
		`{"task":"t","command":["ls"]}` + strings.Repeat(" ", taskexec.MaxRequest)} {
		rec := httptest.NewRecorder()
		x.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/exec", strings.NewReader(body)))
		if rec.Code != http.StatusBadRequest {
			t.Errorf("a body of %d bytes gets %d", len(body), rec.Code)
		}
	}
}
