// Package inprocess lets a client of HTTP speak to a handler in this process. Answers come as they are written,
// so that a blob of any size passes through without being held in memory.
package inprocess

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Transport is a client's way to a handler.
type Transport struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper. The handler runs until its answer was read, or its body closed.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out, body := io.Pipe()
	a := &streamed{header: http.Header{}, body: body, begun: make(chan struct{})}
	go func() {
		defer in.Body.Close()
		defer func() {
			if p := recover(); p != nil { // as http.Server does
				a.failed = fmt.Errorf("%s %s: %v", req.Method, req.URL.Path, p)
				body.CloseWithError(a.failed)
				a.once.Do(func() { close(a.begun) })
			}
		}()
		t.Handler.ServeHTTP(a, in)
		a.WriteHeader(http.StatusOK)
		body.Close()
	}()
	<-a.begun
	if a.sent == nil {
		return nil, a.failed
	}
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		StatusCode:    a.status,
		Header:        a.sent,
		Request:       req,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Body:          out,
		ContentLength: -1,
	}
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil {
		resp.ContentLength = n
	}
	if req.Method == http.MethodHead {
		out.Close() // nothing comes, and what is written all the same goes nowhere
		resp.Body = http.NoBody
	}
	return resp, nil
}

// streamed is an answer that is read while it is written.
type streamed struct {
	header http.Header
	body   *io.PipeWriter
	begun  chan struct{} // is closed once the others are set
	once   sync.Once
	sent   http.Header // nil: the handler failed before
	status int
	failed error
}

func (a *streamed) Header() http.Header { return a.header }

func (a *streamed) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *streamed) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Answer is an answer of a handler that is held back, for who decides what becomes of it.
type Answer struct {
	Status int // 0: there is none yet
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if a.Status == 0 {
		a.Status = status
	}
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Send gives the answer.
func (a *Answer) Send(w http.ResponseWriter) {
	for name, values := range a.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(max(a.Status, http.StatusOK))
	_, _ = w.Write(a.body.Bytes())
}
