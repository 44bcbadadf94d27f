package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/image"
)

// builds keeps what it is asked to build.
type builds struct {
	*apitest.Cluster
	got   api.BuildRequest
	files string
}

func (b *builds) Build(_ context.Context, q api.BuildRequest, files io.Reader, fn func(api.BuildEvent) error) error {
	all, err := io.ReadAll(files)
	b.got, b.files = q, string(all)
	if err != nil {
		return err
	}
	return fn(api.BuildEvent{Step: &image.Step{N: 1, Name: "[1/1] FROM x", State: image.StepCached}})
}

func TestClient_Build(t *testing.T) {
	t.Parallel()
	b := &builds{Cluster: apitest.New(now)}
	c, _ := serve(t, b, testLog(t))
	// Larger than what the request may be, with lines of its own.
	files := strings.Repeat("files\n", api.MaxBody/5)
	q := api.BuildRequest{
		Repository:     "spider",
		Tag:            "0.01",
		Dockerfile:     []byte("FROM x # \xe9\n"),
		DockerfileName: "docker/prod",
		Args:           map[string]string{"A": "b\nc"},
		Logins:         image.Logins{"r:5000": {Username: "ci", Password: "hush"}},
		Secrets:        api.Secrets{"token": []byte("hush\x00\n")},
		Target:         "run",
		Platform:       "linux/arm64",
		Builder:        image.BuildKit,
		NoCache:        true,
		Pull:           true,
	}
	var said []api.BuildEvent
	err := c.Build(testContext(t), q, strings.NewReader(files), func(e api.BuildEvent) error {
		said = append(said, e)
		return nil
	})
	if err != nil || len(said) != 1 || said[0].Step == nil || said[0].Step.State != image.StepCached {
		t.Fatalf("got %+v, %v", said, err)
	}
	if !reflect.DeepEqual(b.got, q) || b.files != files {
		t.Errorf("asked for %+v with %d bytes, want %+v with %d", b.got, len(b.files), q, len(files))
	}
}

func TestSecrets_DoNotPrint(t *testing.T) {
	t.Parallel()
	q := api.BuildRequest{
		Secrets: api.Secrets{"token": []byte("hush")},
		Logins:  image.Logins{"r:5000": {Password: "hush"}},
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secrets", q.Secrets, "logins", q.Logins, "request", q)
	fmt.Fprintf(&out, "%v %+v %#v %s %s", q, q, q, q.Secrets, q.Logins)
	if text := out.String(); strings.Contains(text, "hush") || strings.Contains(text, "104 117") ||
		!strings.Contains(text, "1 hidden") {
		t.Errorf("got %s", text)
	}
}
