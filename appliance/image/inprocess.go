package image

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// inProcess lets a client speak to a handler in this process. An answer is held in
// memory: it is for manifests, and for blobs on their way in.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	in := req.Clone(req.Context())
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	defer func() {
		if p := recover(); p != nil { // as http.Server does
			resp, err = nil, fmt.Errorf("%s %s: %v", req.Method, req.URL.Path, p)
		}
	}()
	a := &answerWriter{header: http.Header{}}
	t.handler.ServeHTTP(a, in)
	a.WriteHeader(http.StatusOK)
	resp = &http.Response{
		Status:        fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		StatusCode:    a.status,
		Header:        a.sent,
		Request:       req,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Body:          io.NopCloser(&a.body),
		ContentLength: int64(a.body.Len()),
	}
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil && req.Method == http.MethodHead {
		resp.ContentLength = n
	}
	return resp, nil
}

type answerWriter struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (a *answerWriter) Header() http.Header { return a.header }

func (a *answerWriter) WriteHeader(status int) {
	if a.status == 0 {
		a.status, a.sent = status, a.header.Clone()
	}
}

func (a *answerWriter) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}
