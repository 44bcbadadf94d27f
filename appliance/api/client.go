package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// ErrNotRunning is wrapped by every call's error where no crawlbox serves the
// socket.
var ErrNotRunning = errors.New("no crawlbox runs here")

// Client speaks to the crawlbox of this machine. It is safe for concurrent
// use. All calls block until answered or until their context ends.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the unix socket given. It does not connect.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	// Without kept connections none outlives its call; a unix socket is cheap to dial.
	t := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return &Client{socket: socket, http: &http.Client{Transport: t}}
}

// Status returns the state of this node and its cluster.
func (c *Client) Status(ctx context.Context) (v Status, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/status", nil, &v)
}

// Neighbours has this node and some others, the managers first, try each other's
// ports. It takes a few seconds where firewalls drop what comes.
func (c *Client) Neighbours(ctx context.Context) (v []doctor.Neighbour, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/neighbours", nil, &v)
}

// Nodes returns all nodes, managers first, then by name.
func (c *Client) Nodes(ctx context.Context) (v []fleet.Node, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/nodes", nil, &v)
}

// SetNode changes a node: verb is promote, demote, drain, activate or pause.
func (c *Client) SetNode(ctx context.Context, node, verb string) error {
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(node)+"/"+verb, nil, nil)
}

// RemoveNode takes a node that is gone out of the cluster. With force it is
// removed although Swarm still hears from it.
func (c *Client) RemoveNode(ctx context.Context, node string, force bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/nodes/"+url.PathEscape(node)+"?force="+strconv.FormatBool(force), nil, nil)
}

// Services returns all services by name.
func (c *Client) Services(ctx context.Context) (v []fleet.Service, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/services", nil, &v)
}

// Inspect returns a service with Docker's own description of it.
func (c *Client) Inspect(ctx context.Context, service string) (v Inspect, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(service), nil, &v)
}

// Tasks returns the tasks chosen, by service, slot and age.
func (c *Client) Tasks(ctx context.Context, q TaskQuery) (v []fleet.Task, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/tasks?"+q.values().Encode(), nil, &v)
}

// Logs calls fn for each line until the logs end, ctx ends, or fn fails.
func (c *Client) Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error {
	return stream(ctx, c, http.MethodGet, "/v1/logs?"+q.values().Encode(), nil, fn)
}

// Scale changes numbers of replicas and calls fn with each step until all of
// them are true. It fails with the first event that carries an error.
func (c *Client) Scale(ctx context.Context, req ScaleRequest, fn func(Event) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/scale", req, failing(fn))
}

// UpdatePlan says what Update would do.
func (c *Client) UpdatePlan(ctx context.Context, req UpdateRequest) (v Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/update/plan", req, &v)
}

// ScalePlan says what Scale would do.
func (c *Client) ScalePlan(ctx context.Context, req ScaleRequest) (v Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/scale/plan", req, &v)
}

// Update brings a service to another image, as Scale does.
func (c *Client) Update(ctx context.Context, req UpdateRequest, fn func(Event) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/update", req, failing(fn))
}

// RemoveService removes a service and follows until its containers are gone.
func (c *Client) RemoveService(ctx context.Context, service string, fn func(Event) error) error {
	return stream(ctx, c, http.MethodDelete, "/v1/services/"+url.PathEscape(service), nil, failing(fn))
}

// Leave takes this node out of the cluster and ends its crawlbox.
func (c *Client) Leave(ctx context.Context, force bool) error {
	return c.call(ctx, http.MethodPost, "/v1/leave?force="+strconv.FormatBool(force), nil, nil)
}

// Images returns the tags of the registry, and where nodes is set also on how many
// nodes each is, for which all of them are asked.
func (c *Client) Images(ctx context.Context, nodes bool) (v []fleet.Image, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/images?nodes="+strconv.FormatBool(nodes), nil, &v)
}

// RemoveImage removes a tag, such as spider:0.01.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "/v1/images?ref="+url.QueryEscape(ref), nil, nil)
}

// CollectImages frees what no tag and no service needs.
func (c *Client) CollectImages(ctx context.Context) (v GCReport, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/images/gc", nil, &v)
}

// QueueAddress returns where programs find the queue, with its password.
func (c *Client) QueueAddress(ctx context.Context) (v QueueAddress, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/address", nil, &v)
}

// QueueLen returns the length of the list key, or of every list where key is
// empty.
func (c *Client) QueueLen(ctx context.Context, key string) (v []Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue?key="+url.QueryEscape(key), nil, &v)
}

// QueuePeek returns the first n items of the list key without taking them.
func (c *Client) QueuePeek(ctx context.Context, key string, n int) (v Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/items?key="+url.QueryEscape(key)+"&n="+strconv.Itoa(n), nil, &v)
}

// QueuePush appends items to the list key and returns its new length.
func (c *Client) QueuePush(ctx context.Context, key string, items []string) (v Items, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/queue/items", Items{Key: key, Items: items}, &v)
}

// QueueClear deletes the list key and returns how long it was.
func (c *Client) QueueClear(ctx context.Context, key string) (v Items, err error) {
	return v, c.call(ctx, http.MethodDelete, "/v1/queue/items?key="+url.QueryEscape(key), nil, &v)
}

// Config returns the effective config as YAML, its secrets hidden.
func (c *Client) Config(ctx context.Context) (v string, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/config", nil, &v)
}

func (q TaskQuery) values() url.Values {
	return url.Values{"service": {q.Service}, "node": {q.Node}, "all": {strconv.FormatBool(q.All)}}
}

func (q LogQuery) values() url.Values {
	v := url.Values{"target": {q.Target}, "follow": {strconv.FormatBool(q.Follow)}, "tail": {strconv.Itoa(q.Tail)}}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return v
}

// failing makes an event that carries an error the error of its stream.
func failing(fn func(Event) error) func(Event) error {
	return func(e Event) error {
		err := fn(e)
		if e.Err != nil {
			return e.Err
		}
		return err
	}
}

// What a node may answer, in bytes: in all, and one event of a stream.
const (
	maxAnswer = 256 << 20
	maxEvent  = 16 << 20
)

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := bound.JSON(resp.Body, maxAnswer, out); err != nil {
		return fmt.Errorf("read answer of crawlbox at %s: %w", c.socket, err)
	}
	return nil
}

func stream[T any](ctx context.Context, c *Client, method, path string, in any, fn func(T) error) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bound.NewStream(resp.Body, maxEvent)
	for {
		var v T
		err := lines.Next(&v)
		if errors.Is(err, io.EOF) {
			return ended(resp)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("crawlbox at %s ended in the middle of its answer: %w", c.socket, err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// ended returns the error that the end of a stream carries, if any.
func ended(resp *http.Response) error {
	v := resp.Trailer.Get(trailerError)
	if v == "" {
		return nil
	}
	e := &Error{Code: CodeInternal, Message: v}
	_ = json.Unmarshal([]byte(v), e)
	return e
}

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body = v
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://crawlbox"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{Code: CodeInternal, Message: "crawlbox answered " + resp.Status}
	_ = bound.JSON(resp.Body, 1<<20, e)
	return nil, e
}

// explain turns a failed connection into what the user can do about it.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s; run as root (sudo), or set socket_group in the config and join that group", c.socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nothing serves %s); start one with `crawlbox manager` or `crawlbox worker`, or run this on the manager", ErrNotRunning, c.socket)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the made-up URL
	}
	return fmt.Errorf("ask crawlbox at %s: %w", c.socket, err)
}
