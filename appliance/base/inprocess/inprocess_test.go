package inprocess

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTransport: an answer comes while it is written, a HEAD has its length, and a handler that panics fails the
// request or breaks its answer off.
func TestTransport(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	client := http.Client{Transport: Transport{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic("no")
		case "/broken":
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		case "/echo":
			_, _ = io.Copy(w, r.Body)
			return
		}
		w.Header().Set("Content-Length", "8")
		_, _ = io.WriteString(w, "half")
		if r.Method == http.MethodGet {
			<-more
		}
		_, _ = io.WriteString(w, "half")
	})}}
	resp, err := client.Get("http://here/")
	if err != nil || resp.StatusCode != http.StatusOK || resp.ContentLength != 8 {
		t.Fatal(resp, err)
	}
	half := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, half); err != nil {
		t.Fatal(err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(half)+string(rest) != "halfhalf" {
		t.Errorf("%q, %v", rest, err)
	}
	resp.Body.Close()
	if resp, err = client.Head("http://here/"); err != nil || resp.ContentLength != 8 {
		t.Error(resp, err)
	}
	if resp, err = client.Get("http://here/panic"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Error(resp, err)
	}
	if resp, err = client.Get("http://here/broken"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err == nil || string(got) != "half" {
		t.Errorf("a broken answer: %q, %v", got, err)
	}
	resp.Body.Close()
	if resp, err = client.Post("http://here/echo", "text/plain", strings.NewReader("said")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "said" {
		t.Errorf("%q, %v", got, err)
	}
	resp.Body.Close()
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	var held Answer
	held.Header().Set("A", "b")
	held.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(&held, "said")
	rec := httptest.NewRecorder()
	held.Send(rec)
	if rec.Code != http.StatusCreated || rec.Body.String() != "said" || rec.Header().Get("A") != "b" {
		t.Error(rec)
	}
}
