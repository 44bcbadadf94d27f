package services

import (
	"context"
	"errors"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

func TestJob(t *testing.T) {
	t.Parallel()
	jobs := &pastOf(t, nil).jobs
	j, mine := jobs.begin("spider", "a")
	same, second := jobs.begin("spider", "b")
	if !mine || second || same != j {
		t.Fatalf("got %v, %v for one job", mine, second)
	}
	if _, mine := jobs.begin("robot", "a"); !mine {
		t.Error("two services are in each other's way")
	}
	j.emit(deploy.Progress{Stage: history.StagePull})
	heard := make(chan history.Stage, 10)
	ended := make(chan error)
	go func() {
		ended <- j.follow(t.Context(), func(p deploy.Progress) { heard <- p.Stage })
	}()
	if first := <-heard; first != history.StagePull { // what it said before
		t.Errorf("got %s", first)
	}
	j.emit(deploy.Progress{Stage: history.StageWatch})
	if next := <-heard; next != history.StageWatch {
		t.Errorf("got %s", next)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.follow(gone, func(deploy.Progress) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("one who goes away got %v", err)
	}
	bad := errors.New("bad")
	jobs.end("spider", j, bad)
	if err := <-ended; !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if _, mine := jobs.begin("spider", "b"); !mine {
		t.Error("the job has not ended")
	}
}
