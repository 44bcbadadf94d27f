package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
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
	resp, err := t.Client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	case t.IDs != nil && !isOneOf(t.IDs, resp):
		err = errors.New("another node answers there")
	case resp.StatusCode >= http.StatusMultipleChoices:
		err = refusal(resp)
	default:
		return resp.Body, nil
	}
	resp.Body.Close()
	return nil, err
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
