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
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// ErrNotRunning is wrapped by every call's error where no crawlbox serves the
// socket.
var ErrNotRunning = errors.New("no crawlbox runs here")

// NotRunning is the error of a call where nothing serves a socket, by its path. How to change
// that depends on the machine, and the caller says so.
type NotRunning string

func (e NotRunning) Error() string {
	return fmt.Sprintf("%s (nothing serves %s)", ErrNotRunning, string(e))
}
func (NotRunning) Unwrap() error { return ErrNotRunning }

// ErrCut is wrapped by the error of a call whose answer did not come to its end.
var ErrCut = errors.New("ended in the middle of its answer")

// Client speaks to the crawlbox of this machine. It is safe for concurrent
// use. All calls block until answered or until their context ends.
type Client struct {
	socket string
	http   *http.Client
	// Starts reports whether a crawlbox that serves nothing is about to; nil: it is not. It is set before the
	// first call.
	Starts func(ctx context.Context) bool
}

// NewClient returns a client for the unix socket given. It does not connect.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	// Without kept connections none outlives its call; a unix socket is cheap to dial.
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	return c
}

const (
	// startLimit bounds how long a call waits for a crawlbox that starts.
	startLimit = 20 * time.Second
	startEvery = 200 * time.Millisecond
)

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	by := time.Now().Add(startLimit)
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
		if err == nil || !unserved(err) || c.Starts == nil || time.Now().After(by) || !c.Starts(ctx) ||
			clock.Sleep(ctx, startEvery) != nil {
			return conn, err
		}
	}
}

// unserved reports whether a connection failed since nobody serves the socket.
func unserved(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// failing makes the line that says why a stream ended the error of it.
func failing(fn func(deploy.Progress) error) func(progressLine) error {
	return func(line progressLine) error {
		if line.Err != nil {
			return line.Err
		}
		return fn(line.Progress)
	}
}

// What a node may answer, in bytes: in all, and one event of a stream.
const (
	maxAnswer = 256 << 20
	maxEvent  = 16 << 20
)

// readLimit bounds a call that only reads, as one of a crawlbox that hangs.
const readLimit = time.Minute

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	if method == http.MethodGet {
		slow := fmt.Errorf("crawlbox at %s has not answered for %s; see its log, and restart it where it hangs",
			c.socket, readLimit)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, readLimit, slow)
		defer cancel()
	}
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
			return fmt.Errorf("crawlbox at %s %w: %w", c.socket, ErrCut, err)
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
	return c.ask(ctx, method, path, in, func(*http.Request) {})
}

// ask returns an answer that is no error.
func (c *Client) ask(
	ctx context.Context, method, path string, in any, prepare func(*http.Request),
) (*http.Response, error) {
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
	prepare(req)
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
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s; run as root (sudo), or set socket_group in the config and join "+
			"that group", c.socket)
	case unserved(err):
		return NotRunning(c.socket)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("crawlbox at %s %w", c.socket, ErrCut)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the made-up URL
	}
	return fmt.Errorf("ask crawlbox at %s: %w", c.socket, err)
}

// Codes of an Error.
const (
	CodeInvalid     = "invalid"     // the request is wrong
	CodeNotFound    = "not_found"   // what it names does not exist
	CodeConflict    = "conflict"    // not in this state
	CodeUnavailable = "unavailable" // Docker or the manager is away, or the node starts
	CodeNotManager  = "not_manager" // ask a manager
	CodeFailed      = "failed"      // it was tried and did not come true
	CodeInternal    = "internal"
)

var statusOf = map[string]int{
	CodeInvalid:     http.StatusBadRequest,
	CodeNotFound:    http.StatusNotFound,
	CodeConflict:    http.StatusConflict,
	CodeUnavailable: http.StatusServiceUnavailable,
	CodeNotManager:  http.StatusMisdirectedRequest,
	CodeFailed:      http.StatusInternalServerError,
	CodeInternal:    http.StatusInternalServerError,
}

// Error is the API's answer when it cannot do what was asked. Message is
// one line: what, where, what to do.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// status returns the HTTP status of an answer that is e.
func (e *Error) status() int {
	if status, ok := statusOf[e.Code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// AsError returns the *Error in err's chain, or wraps err as an internal one.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// Invalid returns the error of a request that is wrong.
func Invalid(format string, args ...any) error {
	return &Error{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// Conflict returns the error of a request that can't be met in the state that things are in.
func Conflict(format string, args ...any) error {
	return &Error{Code: CodeConflict, Message: fmt.Sprintf(format, args...)}
}

// NotFound returns the error of a request that names what does not exist.
func NotFound(format string, args ...any) error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf(format, args...)}
}
