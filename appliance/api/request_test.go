package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

func TestHandler_RefusesBadRequests(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	tests := []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"unknown call", "GET", "/v1/nothing", "", 404, "no such call: GET /v1/nothing"},
		{"wrong method", "PUT", "/v1/status", "", 404, "no such call: PUT /v1/status"},
		{"unknown field", "POST", "/v1/scale", `{"replicas":{"spider":1},"x":1}`, 400, `unknown field \"x\"`},
		{"wrong type", "POST", "/v1/scale", `{"replicas":{"spider":"1"}}`, 400, "of another version"},
		{"cut off", "POST", "/v1/scale", `{"replicas":`, 400, "cannot read the request"},
		{"two values", "POST", "/v1/scale", `{"replicas":{"spider":1}}{}`, 400, "more than one value"},
		{"no services", "POST", "/v1/scale", `{}`, 400, "at least one service"},
		{
			"start what is killed", "POST", "/v1/scale", `{"replicas":{"spider":1},"now":true}`, 400,
			"only what stops is killed",
		},
		{"both", "POST", "/v1/scale", `{"replicas":{"spider":1},"auto":["spider"]}`, 400, "both by its queue and"},
		{"no service to follow a queue", "POST", "/v1/autoscale", `{}`, 400, "needs a service"},
		{
			"min over max", "POST", "/v1/autoscale",
			`{"service":"spider","rule":{"queue":"k","per_replica":1,"min":3,"max":2}}`, 400, "min is 3, more than max",
		},
		{
			"no key", "POST", "/v1/autoscale", `{"service":"spider","rule":{"per_replica":1,"max":2}}`, 400,
			"queue is missing",
		},
		{"negative", "POST", "/v1/scale", `{"replicas":{"spider":-1}}`, 400, "0 or more"},
		{"too large", "POST", "/v1/queue/items", `{"key":"` + strings.Repeat("x",
			api.MaxBody) + `"}`, 400, "larger than"},
		{"no items", "POST", "/v1/queue/items", `{"key":"k"}`, 400, "needs a key and items"},
		{"no image", "POST", "/v1/update", `{"service":"spider"}`, 400, "needs a service and an image"},
		{"no image to deploy", "POST", "/v1/deploy", `{"service":"spider"}`, 400, "needs a service and an image"},
		{
			"fewer than none", "POST", "/v1/deploy", `{"service":"s","image":"i","replicas":-1}`, 400,
			"can't be negative",
		},
		{
			"not built yet", "POST", "/v1/deploy", `{"service":"s","build":{"from":"/s","repository":"s"}}`, 400,
			"the image of service s is not built yet",
		},
		{
			"built and to build", "POST", "/v1/deploy/plan",
			`{"service":"s","image":"i","build":{"from":"/s","repository":"s"}}`, 400, "is no image yet",
		},
		{"too little memory", "POST", "/v1/deploy/plan", `{"service":"s","image":"i","memory":1024}`, 400, "of memory"},
		{"negative limit", "POST", "/v1/deploy", `{"service":"s","image":"i","memory":-1}`, 400, "can't be negative"},
		{
			"more than all", "POST", "/v1/deploy/plan", `{"service":"s","image":"i","failure_ratio":1.5}`, 400,
			"from 0 to 1",
		},
		{"no service to roll back", "POST", "/v1/rollback", `{}`, 400, "rollback needs a service"},
		{"nothing to build", "POST", "/v1/build", "{}\n", 400, "name of its repository"},
		{"no Dockerfile", "POST", "/v1/build", `{"repository":"r"}` + "\n", 400, "and a Dockerfile"},
		{"no request to build", "POST", "/v1/build", "", 400, "cannot read the request"},
		{"files and no request", "POST", "/v1/build", "\x00\x00\n", 400, "of another version"},
		{"bad pull", "POST", "/v1/build", `{"repository":"r","pull":"maybe"}` + "\n", 400, "cannot read the request"},
		{
			"unknown builder", "POST", "/v1/build", `{"repository":"r","dockerfile":"eA==","builder":"kaniko"}` + "\n", 400,
			"must be buildkit or classic",
		},
		{"large request to build", "POST", "/v1/build", `{"repository":"` + strings.Repeat("x",
			api.MaxBody), 400, "before its files"},
		{"no key", "GET", "/v1/queue/items", "", 400, "key is missing"},
		{"no key to clear", "DELETE", "/v1/queue/items", "", 400, "key is missing"},
		{"no keys to watch", "GET", "/v1/queue/flow?n=0", "", 400, "ask for 1 to 1000 keys"},
		{"bad count", "GET", "/v1/queue/items?key=k&n=x", "", 400, "whole number"},
		{"negative count", "GET", "/v1/queue/items?key=k&n=-1", "", 400, "0 or more"},
		{"no checksum to upgrade to", "POST", "/v1/upgrade/program?size=7", "program", 400, "64 hexadecimal digits"},
		{"no size to upgrade to", "POST", "/v1/upgrade/program?sha256=" + strings.Repeat("ab",
			32), "program", 400, "from 1 to"},
		{
			"bad checksum to upgrade to", "POST", "/v1/upgrade", `{"sha256":"../../etc/passwd","size":7}`, 400,
			"64 hexadecimal digits",
		},
		{"bad verb", "POST", "/v1/nodes/h1/explode", "", 400, "explode"},
		{"bad force", "DELETE", "/v1/nodes/h1?force=maybe", "", 400, "true or false"},
		{"bad force to leave", "POST", "/v1/leave?force=maybe", "", 400, "true or false"},
		{"bad all", "GET", "/v1/tasks?all=maybe", "", 400, "true or false"},
		{"bad role", "GET", "/v1/token?role=king", "", 400, "worker or manager"},
		{"bad role of a new token", "POST", "/v1/tokens", `{"role":"king","uses":1}`, 400, "worker or manager"},
		{"endless token", "POST", "/v1/tokens", `{"role":"worker"}`, 400, "needs a time, or a number of uses"},
		{"short token", "POST", "/v1/tokens", `{"role":"worker","ttl_ns":999999999}`, 400, "a second or more"},
		{"negative time", "POST", "/v1/tokens", `{"role":"worker","ttl_ns":-1,"uses":1}`, 400, "a second or more"},
		{"negative uses", "POST", "/v1/tokens", `{"role":"worker","uses":-1}`, 400, "1 or more"},
		{"no token to revoke", "DELETE", "/v1/tokens/", "", 404, "no such call"},
		{"bad role to rotate", "POST", "/v1/tokens/rotate?role=king", "", 400, "worker or manager"},
		{"account like a path", "POST", "/v1/registry/accounts/..%2Fa", "", 400, "cannot be the name of an account"},
		{"account like an option", "POST", "/v1/registry/accounts/-a", "", 400, "cannot be the name of an account"},
		{
			"account like a shell line", "POST", "/v1/registry/accounts/a%3Breboot%0A", "", 400,
			"cannot be the name of an account",
		},
		{"no image to remove", "DELETE", "/v1/images", "", 400, "ref is missing"},
		{"no target", "GET", "/v1/logs", "", 400, "target is missing"},
		{"bad tail", "GET", "/v1/logs?target=spider&tail=x", "", 400, "whole number"},
		{"bad follow", "GET", "/v1/logs?target=spider&follow=x", "", 400, "true or false"},
		{"bad since", "GET", "/v1/logs?target=spider&since=yesterday", "", 400, "must be a time"},
	}
	for _, tt := range tests {
		status, body := ask(t, socket, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.says) || !strings.HasPrefix(body, `{"code":"`) {
			t.Errorf("%s: got %d %s, want %d and %s", tt.name, status, body, tt.status, tt.says)
		}
	}
}

func TestHandler_Defaults(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	for path, lines := range map[string]int{"/v1/logs?target=spider": 6, "/v1/queue/items?key=robots": 1} {
		status, body := ask(t, socket, "GET", path, "")
		if status != 200 || strings.Count(body, "\n") != lines {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestHandler_StreamEndsWithItsError(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	_, body := ask(t, socket, "POST", "/v1/scale", `{"replicas":{"broken":1}}`)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if len(lines) != 3 || !strings.Contains(lines[2], `"error":{"code":"failed"`) {
		t.Errorf("got %s", body)
	}
}

func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(testContext(t), method, "http://crawlbox"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
