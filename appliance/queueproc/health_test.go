package queueproc

import (
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue"
)

// TestHealth tells a process that hangs from one that is busy, or that the machine
// does not let run. Each case is a second at a time.
func TestHealth(t *testing.T) {
	t.Parallel()
	type second struct {
		says   *queue.Progress // nil: nothing
		cpu    time.Duration   // used in this second
		states string
	}
	for name, c := range map[string]struct {
		at   func(n int) second
		hung int // the second at which it is found out; 0: not in 200
	}{
		"well": {func(n int) second {
			return second{&queue.Progress{Commands: uint64(n)}, 0, "SSS"}
		}, 0},
		"busy with many commands": {func(n int) second {
			return second{&queue.Progress{Commands: uint64(n), Busy: 1}, time.Second, "RRS"}
		}, 0},
		"one command without end": {func(n int) second {
			return second{&queue.Progress{Commands: 7, Busy: seconds(n)}, time.Second, "RSS"}
		}, 62},
		"a command that waits": {func(n int) second {
			return second{&queue.Progress{Commands: 7, Busy: seconds(n)}, 0, "SSS"}
		}, 62},
		"a command without the CPU": {func(n int) second {
			return second{&queue.Progress{Commands: 7, Busy: seconds(n)}, 10 * time.Millisecond, "RSS"}
		}, 0},
		"a command for the disk": {func(n int) second {
			return second{&queue.Progress{Commands: 7, Busy: seconds(n)}, 0, "DSS"}
		}, 0},
		"silent":                 {func(int) second { return second{nil, 0, "SSS"} }, 31},
		"silent at work":         {func(int) second { return second{nil, time.Second, "RSS"} }, 31},
		"silent for want of CPU": {func(int) second { return second{nil, 10 * time.Millisecond, "RRS"} }, 0},
		"silent for the disk":    {func(int) second { return second{nil, 0, "SDS"} }, 0},
		"stopped":                {func(int) second { return second{nil, 0, "TTT"} }, 31},
		"slow to say": {func(n int) second {
			return map[bool]second{true: {&queue.Progress{Commands: 7}, 0, "S"}, false: {nil, 0, "S"}}[n%25 == 0]
		}, 0},
	} {
		now := time.Unix(0, 0)
		h := newHealth(now, 30*time.Second, time.Minute)
		var is sample
		hung := 0
		for n := 1; n <= 200 && hung == 0; n++ {
			now = now.Add(time.Second)
			s := c.at(n)
			is.cpu, is.states = is.cpu+s.cpu, s.states
			if s.says != nil {
				h.observe(*s.says, now, is)
			}
			if h.hangReason(now, is) != "" {
				hung = n
			}
		}
		if hung != c.hung {
			t.Errorf("%s: hung after %d s, want %d", name, hung, c.hung)
		}
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// TestHealth_NobodyListened does not hold against a process that the manager itself
// had no time to hear it.
func TestHealth_NobodyListened(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	h := newHealth(now, 30*time.Second, time.Minute)
	now = now.Add(10 * time.Minute)
	if why := h.hangReason(now, sample{states: "SSS"}); why != "" {
		t.Errorf("hung: %s", why)
	}
}
