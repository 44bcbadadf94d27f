package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// errStuck is the error of a check that has not come back since the last time.
var errStuck = errors.New("the check before it has not come back")

// Watchdog tells systemd that this process is alive, for as long as check, which
// asks the process's own parts, returns nil. It checks three times in WatchdogSec=
// of the unit and gives each check a third of it, so that one slow answer is no
// reason for a restart. It returns when ctx ends; where the unit has no watchdog,
// it only waits for that.
func Watchdog(ctx context.Context, check func(context.Context) error, log *slog.Logger) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is set to something that cannot be understood", "error", err)
	}
	if limit <= 0 {
		<-ctx.Done()
		return
	}
	w := watchdog{check: check, bound: limit / 3}
	tick := time.NewTicker(w.bound)
	defer tick.Stop()
	for {
		if err := w.look(ctx); err == nil {
			send(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			log.Error("crawlbox does not answer itself; systemd restarts it unless it does soon", "limit", limit, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

type watchdog struct {
	check func(context.Context) error
	bound time.Duration
	last  chan struct{} // closed when the last check comes back; nil before the first
}

// look checks once. A check that does not heed its context is left behind, and no
// other is begun before it comes back.
func (w *watchdog) look(ctx context.Context) error {
	if w.last != nil {
		select {
		case <-w.last:
		default:
			return errStuck
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.bound)
	defer cancel()
	back, result := make(chan struct{}), make(chan error, 1)
	w.last = back
	go func() {
		defer close(back)
		result <- w.check(ctx)
	}()
	select {
	case err := <-result:
		<-back
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
