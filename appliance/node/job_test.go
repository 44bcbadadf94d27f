package node

import (
	"context"
	"errors"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy"
)

func TestJob(t *testing.T) {
	t.Parallel()
	r := pastOf(t, nil)
	j, mine := r.Begin("spider", "a")
	same, second := r.Begin("spider", "b")
	if !mine || second || same != j {
		t.Fatalf("got %v, %v for one job", mine, second)
	}
	if _, mine := r.Begin("robot", "a"); !mine {
		t.Error("two services are in each other's way")
	}
	j.Emit("stage", deploy.Progress{Have: 1})
	heard := make(chan string, 10)
	ended := make(chan error)
	go func() {
		_, err := j.Follow(t.Context(), func(step string, _ deploy.Progress) { heard <- step })
		ended <- err
	}()
	if first := <-heard; first != "stage" { // what it said before
		t.Errorf("got %s", first)
	}
	j.Emit("watch", deploy.Progress{})
	if next := <-heard; next != "watch" {
		t.Errorf("got %s", next)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Follow(gone, func(string, deploy.Progress) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("one who goes away got %v", err)
	}
	bad := errors.New("bad")
	j.End(deploy.Summary{}, bad)
	if err := <-ended; !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if _, mine := r.Begin("spider", "b"); !mine {
		t.Error("the job has not ended")
	}
}
