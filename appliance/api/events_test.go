package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// many is more events than any buffer between a node and its client holds.
const many = 20_000

// talkative is a cluster in which much happens. It tells when all of it was said.
type talkative struct {
	*apitest.Cluster
	said chan struct{}
}

// talk sends many events and then the last.
func talk[T any](c talkative, send func(T) error, event func(i int) T, last T) error {
	for i := range many {
		if err := send(event(i)); err != nil {
			return err
		}
	}
	err := send(last)
	c.said <- struct{}{}
	return err
}

// change says much of a change, in words that all count.
func (c talkative) change(send func(deploy.Progress) error) error {
	return talk(c, send, func(i int) deploy.Progress {
		return deploy.Progress{Service: "spider", Running: i, Note: fmt.Sprintf("%d %s", i, strings.Repeat("x", 200))}
	}, deploy.Progress{Service: "spider", Done: &deploy.Summary{Started: many}})
}

type progressFunc = func(deploy.Progress) error

func (c talkative) Scale(_ context.Context, _ api.ScaleRequest, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Start(_ context.Context, _ api.StartRequest, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Update(_ context.Context, _ api.UpdateRequest, send progressFunc) error {
	return c.change(send)
}

func (c talkative) RemoveService(_ context.Context, _ string, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Deploy(_ context.Context, _ api.DeployRequest, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Rollback(_ context.Context, _ api.RollbackRequest, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Restart(_ context.Context, _ string, send progressFunc) error {
	return c.change(send)
}

func (c talkative) Build(_ context.Context, _ api.BuildRequest, _ io.Reader, send func(api.BuildEvent) error) error {
	return talk(c, send, func(i int) api.BuildEvent {
		return api.BuildEvent{Step: &image.Step{N: 1, Line: fmt.Sprintf("%d %s", i, strings.Repeat("x", 200))}}
	}, api.BuildEvent{Image: "the end"})
}

func (c talkative) Push(ctx context.Context, _ api.PushRequest, send func(api.BuildEvent) error) error {
	return c.Build(ctx, api.BuildRequest{}, nil, send)
}

func (c talkative) UpgradeNodes(_ context.Context, _ upgrade.Offer, send func(upgrade.Event) error) error {
	return talk(c, send, func(i int) upgrade.Event {
		return upgrade.Event{Node: fmt.Sprint("h", i), Text: strings.Repeat("x", 200)}
	}, upgrade.Event{Node: "h1", Text: "the end"})
}

func (c talkative) Logs(_ context.Context, _ api.LogQuery, send func(api.LogLine) error) error {
	return talk(c, send, func(int) api.LogLine {
		return api.LogLine{Task: "spider.1", Text: strings.Repeat("x", 2000)}
	}, api.LogLine{Task: "spider.1", Text: "the end"})
}

// streams are all calls that answer a stream, with a body that they take.
var streams = map[string]string{
	"POST /v1/scale":                      `{"replicas":{"spider":1}}`,
	"POST /v1/start":                      `{"services":["spider"]}`,
	"POST /v1/update":                     `{"service":"spider","image":"x"}`,
	"DELETE /v1/services/{service}":       ``,
	"POST /v1/deploy":                     `{"service":"spider","image":"x"}`,
	"POST /v1/rollback":                   `{"service":"spider"}`,
	"POST /v1/services/{service}/restart": ``,
	"POST /v1/build":                      `{"repository":"spider","dockerfile":"RlJPTSB4"}` + "\n",
	"POST /v1/push":                       `{"image":"x","repository":"x"}`,
	"POST /v1/upgrade":                    `{"sha256":"` + strings.Repeat("0", 64) + `","size":1}`,
	"GET /v1/logs":                        ``, // that are followed
}

// TestEvents_NobodyWaitsForWhoLooks: a client that does not read holds up nothing; when it
// reads again it learns the end, and that it has missed something.
func TestEvents_NobodyWaitsForWhoLooks(t *testing.T) {
	t.Parallel()
	for route, body := range streams {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			c := talkative{apitest.New(now), make(chan struct{}, 1)}
			_, socket := serve(t, c, testLog(t))
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			method, path, _ := strings.Cut(route, " ")
			path = strings.ReplaceAll(path, "{service}", "spider")
			_, err = fmt.Fprintf(conn, "%s %s?target=spider&follow=true HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"+
				"Connection: close\r\n\r\n%s", method, path, len(body), body)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-c.said:
			case <-time.After(20 * time.Second):
				t.Fatal("what happens waits for a client that does not read")
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			all, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			events := strings.Split(strings.TrimSpace(string(all)), "\n")
			end := events[len(events)-1]
			if !strings.Contains(end, "the end") && !strings.Contains(end, fmt.Sprintf(`"started":%d`, many)) {
				t.Errorf("the last event is %.200s", end)
			}
			if len(events) > many*3/4 || !strings.Contains(string(all), "left out here: they were not read in time") {
				t.Errorf("%d events came, and it does not say what is missing", len(events))
			}
		})
	}
}

// TestEvents_OfAllRoutes: there is no stream that the test above does not know.
func TestEvents_OfAllRoutes(t *testing.T) {
	t.Parallel()
	got := api.Streams(apitest.Areas(apitest.New(now)))
	if want := slices.Sorted(maps.Keys(streams)); !slices.Equal(got, want) {
		t.Errorf("streams are %v, and those that are tested %v", got, want)
	}
}

// TestEvents_AllToWhoReads: a client that reads gets each event.
func TestEvents_AllToWhoReads(t *testing.T) {
	t.Parallel()
	const few = 200
	client, _ := serve(t, stepwise{apitest.New(now), few}, testLog(t))
	seen := 0
	err := client.Scale(testContext(t), api.ScaleRequest{Replicas: map[string]int{"spider": 1}},
		func(p deploy.Progress) error {
			if p.Running != seen {
				t.Errorf("event %d is %d", seen, p.Running)
			}
			seen++
			return nil
		})
	if err != nil || seen != few {
		t.Errorf("%d events, %v", seen, err)
	}
}

// stepwise is a cluster whose changes have so many steps.
type stepwise struct {
	*apitest.Cluster
	steps int
}

func (c stepwise) Scale(_ context.Context, _ api.ScaleRequest, send progressFunc) error {
	for i := range c.steps {
		if err := send(deploy.Progress{Service: "spider", Running: i}); err != nil {
			return err
		}
	}
	return nil
}
