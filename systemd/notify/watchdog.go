package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog tells systemd that this process is alive, for as long as check, which
// asks the process's own parts, returns nil. It checks three times in WatchdogSec=
// of the unit and gives each check a third of it, so that one slow answer is no
// reason for a restart. A check that does not come back when its context ends is one
// too: no other is begun. It returns when ctx ends; where the unit has no watchdog, it
// only waits for that.
func Watchdog(ctx context.Context, check func(context.Context) error, log *slog.Logger) {
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
	for {
		if err := within(ctx, bound, check); err == nil {
			send(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			log.Error("crawlbox does not answer itself; systemd restarts it unless it does soon", "limit", limit,
				"error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func within(ctx context.Context, bound time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return check(ctx)
}
