package swarm

import (
	"strings"
	"testing"
)

func TestReadPull(t *testing.T) {
	t.Parallel()
	var last Pulled
	stream :=
		`{"status":"Pulling from spider","id":"2"}{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"a"}` +
			`{"status":"Downloading","progressDetail":{"current":1,"total":4},"id":"b"}{"status":"Download complete","progressDetail":{},"id":"a"}`
	if err := readPull(strings.NewReader(stream), func(p Pulled) { last = p }); err != nil || last != (Pulled{11, 14}) {
		t.Errorf("got %+v, %v", last, err)
	}
	err := readPull(strings.NewReader(`{"error":"no space\n left"}`), func(Pulled) {})
	if err == nil || err.Error() != "no space left" {
		t.Errorf("got %v", err)
	}
	if err := readPull(strings.NewReader(`{"status":`), func(Pulled) {}); err == nil {
		t.Error("a stream that was cut passed")
	}
}

func TestWithoutTag(t *testing.T) {
	t.Parallel()
	for pinned, want := range map[string]string{
		"localhost:8003/spider:0.02@sha256:1": "localhost:8003/spider@sha256:1",
		"localhost:8003/spider@sha256:1":      "localhost:8003/spider@sha256:1",
		"python:3.6@sha256:1":                 "python@sha256:1",
	} {
		if got := WithoutTag(pinned); got != want {
			t.Errorf("%s: got %s, want %s", pinned, got, want)
		}
	}
}
