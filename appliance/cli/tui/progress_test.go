package tui

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// steps of a change, each a second tenth after the one before.
func steps(p *Progress, events ...deploy.Progress) {
	for _, e := range events {
		_ = p.See(e)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
	}
}

func running(service string, n, of int) deploy.Progress {
	return deploy.Progress{Service: service, Running: n, Desired: of}
}

func TestProgress_InAPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewProgress(Screen{W: &out, Now: time.Now}, []string{"robot", "spider"}, Summary)
		end := p.Start()
		steps(p, running("spider", 1, 5), running("spider", 2, 5), running("spider", 2, 5))
		failing := running("spider", 3, 5)
		failing.Note = "spider.4 on h2:\nNo such image"
		steps(p, failing, failing, running("robot", 0, 1), running("spider", 4, 5))
		time.Sleep(3 * time.Second) // what was held back comes without a new event
		last := running("spider", 5, 5)
		last.Done = &deploy.Summary{
			Took:        12300 * time.Millisecond,
			Started:     40,
			P50:         4100 * time.Millisecond,
			P95:         9 * time.Second,
			Slowest:     "h7",
			SlowestTook: 11200 * time.Millisecond,
		}
		steps(p, last)
		end()
		clitest.Golden(t, "testdata/progress.pipe.golden", out.String())
	})
}

func TestProgress_OnATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewProgress(Screen{W: &out, Width: 60, height: 24, Now: time.Now}, []string{"robot", "spider"}, Summary)
		end := p.Start()
		steps(p, running("spider", 1, 5))
		failing := running("spider", 3, 5)
		failing.Note = "spider.4 on h2: No such image: localhost:8003/spider:0.02@sha256:0123"
		steps(p, running("robot", 0, 1), failing)
		stopped := deploy.Progress{Service: "robot", Done: &deploy.Summary{Took: 3200 * time.Millisecond, Stopped: 1}}
		last := running("spider", 5, 5)
		last.Done = &deploy.Summary{Took: time.Second}
		steps(p, stopped, last)
		end()
		want := []string{
			"! spider: spider.4 on h2: No such image:",
			"  localhost:8003/spider:0.02@sha256:0123",
			"robot: stopped, 1 container gone in 3.2s",
			"spider: 5 running in 1.0s",
		}
		if got := clitest.Display(out.String()); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the terminal shows %q, want %q", got, want)
		}
		if frame := "spider: [====>               ] 1/5 running  0.0s\n"; !strings.HasPrefix(out.String(), frame) {
			t.Errorf("got %q, want it to begin with %q", out.String(), frame)
		}
	})
}

// TestProgress_Wraps wants all that is said of a service to be seen, in lines of whole words, as long as
// what is painted over fits on the screen.
func TestProgress_Wraps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := deploy.Progress{Service: "spider", Stage: history.StagePull, Desired: 50, Pulled: deploy.Pulled{
			Have: 47, Nodes: 50, Bytes: 21e8, Total: 23e8, Late: "h7, h9",
		}}
		for height, want := range map[int][]string{
			24: {
				"spider: [==================> ] 47/50 nodes have it, 2.1GB of",
				"  2.3GB, waiting for h7, h9  0.0s",
			},
			2: {"spider: [==================> ] 47/50 nodes have it, 2.1GB o…"},
		} {
			var out bytes.Buffer
			p := NewProgress(Screen{W: &out, Width: 60, height: height, Now: time.Now}, []string{"spider"}, Summary)
			_ = p.See(e)
			_ = p.See(e)
			if got := clitest.Display(out.String()); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("of %d lines the terminal shows %q, want %q", height, got, want)
			}
		}
	})
}

func TestProgress_MoreThanFits(t *testing.T) {
	t.Parallel()
	p := NewProgress(Screen{Width: 80, height: 2, Now: time.Now}, []string{"a", "b"}, Summary)
	if p.painted {
		t.Error("two lines are painted on a terminal of two")
	}
}

// broken is an output that is gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestProgress_OutputGone(t *testing.T) {
	t.Parallel()
	p := NewProgress(Screen{W: broken{}, Now: time.Now}, []string{"a"}, Summary)
	if err := p.See(running("a", 1, 2)); err == nil {
		t.Error("no error")
	}
}

func TestProgress_Text(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]deploy.Progress{
		"3/5 running":             {Running: 3, Desired: 5},
		"5/3 running, 2 to stop":  {Running: 5, Desired: 3, Stopping: 2},
		"1/5 running, 2 complete": {Running: 3, Complete: 2, Desired: 5},
		"27 containers to go":     {Running: 20, Stopping: 7},
		"0/3 new, 3 old running":  {Stage: history.StageWatch, Old: 3, Desired: 3},
		"2/3 new, 1 complete, 1 old running, 1 to stop": {
			Stage: history.StageWatch, Running: 3, Complete: 1, Old: 1, Desired: 3, Stopping: 1,
		},
		"1/3 running as before": {Stage: history.StageRollBack, Running: 1, Desired: 3},
		"1/3 nodes have it, 15MB of 30MB, waiting for h2": {
			Stage:  history.StagePull,
			Pulled: deploy.Pulled{Have: 1, Nodes: 3, Bytes: 15e6, Total: 30e6, Late: "h2"},
		},
		"3/3 nodes have it": {
			Stage: history.StagePull, Pulled: deploy.Pulled{Have: 3, Nodes: 3, Bytes: 30e6, Total: 30e6},
		},
		"image of docker.io": {Stage: history.StageCopy, Copied: deploy.Copied{From: "docker.io"}},
		"45MB copied from docker.io": {
			Stage:  history.StageCopy,
			Copied: deploy.Copied{From: "docker.io", Bytes: 45e6, Total: 45e6},
		},
		"12MB of 45MB copied from docker.io": {
			Stage:  history.StageCopy,
			Copied: deploy.Copied{From: "docker.io", Bytes: 12e6, Total: 45e6},
		},
		"1 container to go": {Running: 3, Complete: 3, Stopping: 1},
	} {
		if got := (&progressLine{event: e}).text(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	for part, want := range map[float64]string{
		0:   "[>                   ]",
		0.5: "[==========>         ]",
		1:   "[====================]",
	} {
		if got := bar(part); got != want {
			t.Errorf("%v: got %s", part, got)
		}
	}
	for name, tc := range map[string]struct {
		line progressLine
		want float64
	}{
		"containers":    {progressLine{event: deploy.Progress{Stopping: 5}, most: 10}, 0.5},
		"bytes":         {progressLine{event: pulling(0, 4, 3, 4)}, 0.75},
		"not all bytes": {progressLine{event: pulling(1, 4, 4, 4)}, 0.99},
		"all nodes":     {progressLine{event: pulling(4, 4, 4, 4)}, 1},
		"none said":     {progressLine{event: pulling(1, 4, 0, 0)}, 0.25},
	} {
		if got := tc.line.part(); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func pulling(have, nodes int, bytes, total int64) deploy.Progress {
	return deploy.Progress{
		Service: "spider",
		Stage:   history.StagePull,
		Pulled:  deploy.Pulled{Have: have, Nodes: nodes, Bytes: bytes, Total: total},
	}
}

// TestProgress_Failed wants no bar of a change that has failed, whatever was heard last, and the
// notes to stay.
func TestProgress_Failed(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]deploy.Progress{
		"running":  running("spider", 3, 3),
		"pulled":   pulling(3, 3, 9, 9),
		"to go":    {Service: "spider"},
		"the note": {Service: "spider", Note: "log: no module"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := NewProgress(Screen{W: &out, Width: 60, height: 24, Now: time.Now}, []string{"spider"}, Summary)
			end := p.Start()
			steps(p, last)
			end()
			p.Fail()
			if got := strings.Join(clitest.Display(out.String()), "\n"); got != "" && !strings.HasPrefix(got, "! ") {
				t.Errorf("%s: the terminal shows %q", name, got)
			}
		})
	}
}

// TestProgress_InAPipeOnce wants a part that is over to be told once.
func TestProgress_InAPipeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewProgress(Screen{W: &out, Now: time.Now}, []string{"spider"}, Summary)
		end := p.Start()
		steps(p, pulling(3, 3, 9, 9))
		time.Sleep(2 * time.Second)
		steps(p, running("spider", 3, 3))
		end()
		want := "spider: 3/3 nodes have it after 2.2s\nspider: 3/3 running\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestSummary(t *testing.T) {
	t.Parallel()
	took := 12300 * time.Millisecond
	for want, e := range map[string]deploy.Progress{
		"50 running in 12.3s (p50 4.1s, p95 9.0s, slowest node h7 11.2s)": {
			Running: 50,
			Desired: 50,
			Done: &deploy.Summary{
				Took:        took,
				Started:     50,
				P50:         4100 * time.Millisecond,
				P95:         9 * time.Second,
				Slowest:     "h7",
				SlowestTook: 11200 * time.Millisecond,
			},
		},
		"9 running in 12.3s": {Running: 9, Desired: 9, Done: &deploy.Summary{Took: took, Started: 9, P50: took}},
		"stopped; `crawlbox start spider` runs it": {
			Service: "spider", Stage: history.StageWatch, Done: &deploy.Summary{Took: took},
		},
		"3 running in 12.3s": {Running: 3, Desired: 3, Done: &deploy.Summary{Took: took, Stopped: 2}},
		"3 complete in 12.3s": {
			Running:  3,
			Complete: 3,
			Desired:  3,
			Done:     &deploy.Summary{Took: took},
		},
		"1 running, 2 complete in 12.3s": {
			Running:  3,
			Complete: 2,
			Desired:  3,
			Done:     &deploy.Summary{Took: took},
		},
		"stopped, 50 containers gone in 12.3s": {Done: &deploy.Summary{Took: took, Stopped: 50}},
		"stopped, 1 container gone in 12.3s":   {Done: &deploy.Summary{Took: took, Stopped: 1}},
	} {
		if got := Summary(e); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
