package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// Target is another node that is asked.
type Target struct {
	Client *http.Client
	Addr   netip.AddrPort
	IDs    []string // of the certificates that may answer; nil: those of all nodes that Client accepts
	Fresh  bool     // over a connection that is used for nothing else
}

// send asks, and returns the body of an answer that is good.
func (t Target) send(ctx context.Context, route string, question any) (io.ReadCloser, error) {
	resp, err := t.ask(ctx, route, question, func(*http.Request) {})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// upgrade asks for a connection that goes both ways.
func (t Target) upgrade(ctx context.Context, route string, question any) (io.ReadWriteCloser, error) {
	//lint:ignore bodyclose it is the connection that is returned
	resp, err := t.ask(ctx, route, question, taskexec.Ask)
	if err != nil {
		return nil, err
	}
	return taskexec.Answered(resp)
}

// ask returns an answer that is good.
func (t Target) ask(
	ctx context.Context, route string, question any, prepare func(*http.Request),
) (*http.Response, error) {
	var body io.Reader
	if _, none := question.(None); !none {
		text, err := json.Marshal(question)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.Addr.String()+path, body)
	if err != nil {
		return nil, err
	}
	req.Close = t.Fresh
	prepare(req)
	resp, err := t.Client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, unanswered(context.Cause(ctx))
	case err != nil:
		return nil, Unreached(t.Addr.String(), err)
	case t.IDs != nil && !isOneOf(t.IDs, resp):
		err = errors.New("another node answers there")
	case resp.StatusCode >= http.StatusMultipleChoices:
		if err = refusal(resp); resp.StatusCode >= http.StatusInternalServerError {
			err = unanswered(err)
		}
	default:
		return resp, nil
	}
	resp.Body.Close()
	return nil, err
}

// marked is an error that is another one too, which its text does not say.
type marked struct {
	error
	as error
}

func (m marked) Is(target error) bool { return target == m.as }
func (m marked) Unwrap() error        { return m.error }

// unanswered marks the error of a node that did not come to answer: it may be starved, and is
// worth another try.
func unanswered(err error) error { return marked{err, deploy.ErrUnanswered} }

// Unreached returns the error of a request to a port that nobody answered.
func Unreached(port string, err error) error {
	var in net.Error
	switch {
	case errors.Is(err, ErrNoNode):
		return wire.WithoutURL(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return marked{fmt.Errorf("nothing listens at %s; it may be stopped", port), deploy.ErrNotRunning}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.As(err, &in) && in.Timeout():
		return unanswered(words.Error(err, "%s does not answer in time; it may hang, or the network may be cut", port))
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return unanswered(words.Error(err, "there is no way to %s; its machine or the network may be down", port))
	}
	return unanswered(wire.WithoutURL(err))
}

// isOneOf reports whether a response comes from a node with one of the IDs.
func isOneOf(ids []string, resp *http.Response) bool {
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		return false
	}
	info, err := pki.InfoFrom(resp.TLS.PeerCertificates[0])
	return err == nil && slices.Contains(ids, info.ID)
}

// maxReason bounds what a node may say of why it does not do what it was asked, in bytes.
const maxReason = 1 << 10

// refusal returns the error of an answer that is none: one of package join, or a StatusError.
func refusal(resp *http.Response) error {
	text, _ := bound.ReadAll(resp.Body, maxReason)
	if err := enroll.Refused(text); err != nil {
		return err
	}
	status := &StatusError{Code: resp.StatusCode}
	said := string(bytes.TrimSpace(text))
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if !strings.ContainsFunc(said, odd) && said != noRoute {
		status.Text = said
	}
	return status
}

// noRoute is what net/http answers where a node of an earlier version lacks a route.
const noRoute = "404 page not found"

// StatusError is returned where a node does not do what it was asked.
type StatusError struct {
	Code int    // of HTTP
	Text string // why, as the node says; may be empty
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("it answers %d %s", e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}
