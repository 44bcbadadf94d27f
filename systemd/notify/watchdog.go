package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxStarved bounds how long a process that does not answer is taken for one that is starved:
// a part may hang on a machine that is starved as well.
const maxStarved = 20 * time.Minute

// leniency is by how much systemd is asked to wait longer for a process that is starved, which
// may say that it is alive later than it means to.
const leniency = 5

// Watchdog tells systemd that this process is alive, for as long as check, which
// asks the process's own parts, returns nil. It checks three times in WatchdogSec=
// of the unit and gives each check a third of it, so that one slow answer is no
// reason for a restart. A check that does not come back when its context ends is one
// too: no other is begun. A process that has waited for memory or the disk for half of a check
// that failed, or that was woken late itself, is starved, not hung: to start it again would make
// that worse. One that is [Hung] systemd need not wait for. It returns
// when ctx ends; where the unit has no watchdog, it only waits for that.
func Watchdog(ctx context.Context, check func(context.Context) error, log *slog.Logger) {
	watchdog(ctx, check, nil, log)
}

// pulses is how often in the bound of a check its process is to be woken. An answer takes some ten wake-ups: where each
// comes later than a part so small of the bound, on average, it may be late.
const pulses = 40

// watchdog is Watchdog for a process of which read, if there is one, says what it waits for.
func watchdog(ctx context.Context, check func(context.Context) error, read func() stalls, log *slog.Logger) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is set to something that cannot be understood", "error", err)
	}
	if limit <= 0 {
		<-ctx.Done()
		return
	}
	bound := limit / 3
	tick := time.NewTicker(bound)
	defer tick.Stop()
	if read == nil {
		p := newPulse(bound / pulses)
		go p.run(ctx)
		read = p.read
	}
	d := dog{limit: limit, log: log}
	from, was := time.Now(), read()
	for {
		begun := time.Now()
		err := within(ctx, bound, check)
		if ctx.Err() != nil {
			return
		}
		ended, now := time.Now(), read()
		waited, resource := now.since(was)
		d.looked(err, starvation{
			window:   ended.Sub(from),
			waited:   waited,
			resource: resource,
			late:     ended.Sub(begun) - bound,
			bound:    bound,
		})
		from, was = ended, now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Hung is an error that, where Hung returns true, is of a part that has had all its time.
type Hung interface {
	error
	Hung() bool
}

// starvation is what a process lacked in a window: in a check and the pause before it.
type starvation struct {
	window, waited time.Duration
	resource       string        // that was waited for
	late           time.Duration // how much later than at its bound the check ended
	bound          time.Duration
}

func (s starvation) is() bool {
	return s.window >= s.bound/2 && s.waited >= s.window/2 || s.late >= s.bound/2
}

// dog tells systemd what has come of the checks.
type dog struct {
	limit   time.Duration
	log     *slog.Logger
	failed  time.Time // since when checks have failed for starvation, or zero
	lenient bool      // systemd waits longer than limit
}

func (d *dog) looked(err error, s starvation) {
	switch {
	case err == nil:
		if d.failed = (time.Time{}); d.lenient {
			d.wait(false)
			d.log.Info("crawlbox answers itself in time again")
		}
	case s.is() && (d.failed.IsZero() || time.Since(d.failed) < maxStarved):
		if d.failed.IsZero() {
			d.failed = time.Now()
		}
		if !d.lenient {
			d.wait(true)
			d.log.Warn("crawlbox answers itself late: this machine is overloaded", "waited_for", s.resource,
				"waited", s.waited, "of", s.window, "late", max(s.late, 0), "error", err)
		}
	default:
		if d.lenient {
			d.wait(false)
		}
		d.log.Error("crawlbox does not answer itself; systemd restarts it unless it does soon", "limit", d.limit,
			"error", err)
		if hung, ok := errors.AsType[Hung](err); ok && hung.Hung() {
			send("WATCHDOG=trigger")
		}
		return
	}
	send(daemon.SdNotifyWatchdog)
}

// wait has systemd wait for its limit from now on before it restarts the process, or for longer.
func (d *dog) wait(lenient bool) {
	limit := d.limit
	if d.lenient = lenient; lenient {
		limit *= leniency
	}
	send(fmt.Sprintf("WATCHDOG_USEC=%d", limit.Microseconds()))
}

func within(ctx context.Context, bound time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return check(ctx)
}
