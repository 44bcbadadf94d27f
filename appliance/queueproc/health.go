package queueproc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue"
)

const (
	tick = time.Second // between two looks, and between two words of the process
	// silenceLimit is how long a process that could run may say nothing, and
	// commandLimit how long one command may take.
	silenceLimit = 30 * time.Second
	commandLimit = 5 * time.Minute
	// starved is the share of a processor below which a process that wants to run does
	// not get to.
	starved = 0.05
)

// sample holds what the kernel says of a process.
type sample struct {
	cpu    time.Duration // used by all its threads since it began
	states string        // of its threads, a letter each, see proc_pid_stat(5)
}

// health holds what is known of a process: when it was last seen to get on, and what it
// had used of the processors by then.
type health struct {
	silence, command time.Duration // limits

	looked    time.Time
	alive     mark // it said something
	finished  mark // another command was done, or none was under way
	commands  uint64
	busySince time.Time // zero: no command is under way
}

type mark struct {
	at  time.Time
	cpu time.Duration
}

func newHealth(now time.Time, silence, command time.Duration) *health {
	return &health{
		silence:  silence,
		command:  command,
		looked:   now,
		alive:    mark{at: now},
		finished: mark{at: now},
	}
}

// observe takes a word of the process.
func (h *health) observe(p queue.Progress, now time.Time, is sample) {
	h.alive = mark{now, is.cpu}
	if p.Busy == 0 || p.Commands != h.commands {
		h.finished = h.alive
	}
	h.commands, h.busySince = p.Commands, time.Time{}
	if p.Busy > 0 {
		h.busySince = now.Add(-p.Busy)
	}
}

// hangReason returns why the process has to be killed, empty if it need not. It is called
// each tick.
func (h *health) hangReason(now time.Time, is sample) string {
	if pause := now.Sub(h.looked); pause > 5*tick { // nobody has listened meanwhile
		h.alive.at, h.finished.at = h.alive.at.Add(pause), h.finished.at.Add(pause)
	}
	h.looked = now
	silence, command := now.Sub(h.alive.at), now.Sub(h.finished.at)
	switch {
	case silence > h.silence && strings.Trim(is.states, "Tt") == "":
		return fmt.Sprintf("it was stopped and has said nothing for %s", silence.Round(time.Second))
	case silence > h.silence && !waits(is, h.alive, silence):
		return fmt.Sprintf("it has said nothing for %s", silence.Round(time.Second))
	case !h.busySince.IsZero() && now.Sub(h.busySince) > h.command && command > h.command &&
		!waits(is, h.finished, command):
		return fmt.Sprintf("one command has taken %s", now.Sub(h.busySince).Round(time.Second))
	}
	return ""
}

// waits reports whether a process has done nothing since a mark because the machine
// did not let it: for a processor, or for the disk. To start it again would not help.
func waits(is sample, since mark, span time.Duration) bool {
	return strings.ContainsAny(is.states, "RD") && float64(is.cpu-since.cpu) < starved*float64(span)
}

// look asks the kernel. What it does not say is left out.
func look(pid int) (is sample) {
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		is.states += fields[0]
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		is.cpu += time.Duration(user+system) * clockTick
	}
	return is
}

// clockTick is the kernel's USER_HZ, 100 on all that crawlbox is built for.
const clockTick = time.Second / 100
