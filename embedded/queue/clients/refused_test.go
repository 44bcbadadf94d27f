package clients_test

import (
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// The job queues that need scripts or streams tell their user what is not served and what
// to use; where it is served, the job runs.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start   func(t *testing.T, s server) *process
		refused string // the commands that are refused, as a pattern: it depends on the version
		works   string
	}{
		"rq":            {startRQ, "XADD", "Job OK"},
		"sidekiq":       {startSidekiq, "SCRIPT|EVALSHA", "ran http://host/"},
		"bullmq":        {startBullMQ("work"), "EVAL|EVALSHA", "ran crawl"},
		"bullmq client": {startBullMQ("add"), "EVAL|EVALSHA", "added crawl"},
		"asynq":         {startAsynq, "EVAL|EVALSHA", "ran crawl"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := c.works
			if otherServer == "" {
				want = "(" + c.refused + ") is not served by crawlbox's embedded queue; .*(Redis|Valkey)"
			}
			c.start(t, startServer(t)).waitFor(t, 30*time.Second, want)
		})
	}
}

func startRQ(t *testing.T, s server) *process {
	needPackage(t, "python3-rq", python, "-c", "import rq")
	run(t, 20*time.Second, program{name: python, args: []string{"jobs.py", s.url()}, dir: "testdata/rq"})
	return start(t, program{
		name: python,
		args: []string{"-m", "rq.cli", "worker", "--url", s.url()},
		dir:  "testdata/rq",
	})
}

func startSidekiq(t *testing.T, s server) *process {
	needPackage(t, "ruby-sidekiq", "ruby", "-e", "require 'sidekiq'")
	env := []string{"REDIS_URL=" + s.url()}
	run(t, 20*time.Second, program{name: "ruby", args: []string{"jobs.rb"}, dir: "testdata/sidekiq", env: env})
	return start(t, program{
		name: "sidekiq",
		args: []string{"--require", "./jobs.rb"},
		dir:  "testdata/sidekiq",
		env:  env,
	})
}

func startBullMQ(action string) func(t *testing.T, s server) *process {
	return func(t *testing.T, s server) *process {
		if action == "work" && otherServer != "" {
			run(t, 20*time.Second, node(t, "bullmq.js", s.host, s.port, password, "add"))
		}
		return start(t, node(t, "bullmq.js", s.host, s.port, password, action))
	}
}

func startAsynq(t *testing.T, s server) *process {
	return start(t, program{name: artifact.Asynq(t), args: []string{s.addr(), password}})
}
