package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

// tides is an area that was made up: a subject that the API knows nothing of.
type tides struct{ at map[string]int }

func (t tides) area() api.Area {
	return api.Area{
		"GET /v1/tides/{port}": api.Value(t.height),
		"GET /v1/tides":        api.Events(api.Lag[string]{Tell: skipped}, t.ports),
		"PUT /v1/tides/{port}": api.Action(func(*http.Request) error { return api.Conflict("no man orders the tide") }),
	}
}

func (t tides) height(r *http.Request) (int, error) {
	metres, known := t.at[r.PathValue("port")]
	if !known {
		return 0, api.NotFound("no tide at %s", r.PathValue("port"))
	}
	return metres, nil
}

func (t tides) ports(_ *http.Request, send func(string) error) error {
	return errors.Join(send("brest"), send("dover"))
}

func skipped(n int, _ string) string { return fmt.Sprint(n, " ports are left out") }

func TestHandler_AnotherArea(t *testing.T) {
	t.Parallel()
	var audit records
	client, socket := serveHandler(t, api.Handler(audit.add, testLog(t),
		api.OverviewArea(apitest.New(now)),
		tides{map[string]int{"brest": 7, "dover": 6}}.area(),
	))
	if st, err := client.Status(testContext(t)); err != nil || st.Node != "h1" {
		t.Errorf("the status: %+v, %v", st, err)
	}
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/tides/dover", 200, "6\n"},
		{"GET", "/v1/tides/paris", 404, `{"code":"not_found","message":"no tide at paris"}` + "\n"},
		{"GET", "/v1/tides", 200, "\"brest\"\n\"dover\"\n"},
		{"PUT", "/v1/tides/brest", 409, `{"code":"conflict","message":"no man orders the tide"}` + "\n"},
	} {
		if status, body := ask(t, socket, tt.method, tt.path, ""); status != tt.status || body != tt.body {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}
	if said := audit.take(); len(said) != 1 {
		t.Errorf("the audit log has %q, want what orders the tide", said)
	}
}
