package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/systemd"
)

const (
	lookInterval = 200 * time.Millisecond
	// patientFor is how many failed starts in a row are taken for what passes, such
	// as a Docker that is starting too.
	patientFor = 3
)

// Await waits until the service is ready, and calls say with what the node says it is
// about, each once. It gives up when ctx ends, and when the service has failed
// three times, or once for good.
func (m *Machine) Await(ctx context.Context, say func(status string)) error {
	var last string
	said, failures := map[string]bool{}, map[string]bool{}
	for {
		s, err := m.state(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		// Before a job that waits has begun, all is of the run before.
		begun := s.active == "activating" || !s.job
		if s.status != "" && begun {
			last = s.status
		}
		if last != "" && !said[last] {
			said[last] = true
			say(last)
		}
		if s.sub == "auto-restart" {
			failures[s.restarts] = true
		}
		switch {
		case s.active == "active" && begun:
			return nil
		case s.active == "failed" && begun:
			return fmt.Errorf("the service does not start: %s; `journalctl -u crawlbox` tells more", orNothing(last))
		case len(failures) >= patientFor:
			return fmt.Errorf("the service fails at each start: %s; `journalctl -u crawlbox` tells more",
				orNothing(last))
		}
		if clock.Sleep(ctx, lookInterval) != nil {
			return fmt.Errorf("the service is not ready yet (%s); systemd goes on with it, `systemctl status "+
				"crawlbox` shows how far it is: %w", orNothing(last), context.Cause(ctx))
		}
	}
}

func orNothing(status string) string {
	if status == "" {
		return "it has said nothing"
	}
	return strings.TrimPrefix(status, "failed: ")
}

// Starts reports whether the service is about to serve: systemd starts it at present, again after it ended for
// instance, or it runs, and begins anew where nothing serves its socket.
func (m *Machine) Starts(ctx context.Context) bool {
	if !m.HasSystemd() {
		return false
	}
	s, err := m.state(ctx)
	return err == nil && (s.active == "activating" || s.active == "active" || s.job)
}

// state is how systemd says the service is.
type state struct {
	active, sub, restarts, status string
	job                           bool // it is about to be something else
}

func (m *Machine) state(ctx context.Context) (s state, err error) {
	out, err := m.systemctl(ctx, "show", "--property=ActiveState,SubState,NRestarts,StatusText,Job", systemd.Service)
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ActiveState":
			s.active = value
		case "SubState":
			s.sub = value
		case "NRestarts":
			s.restarts = value
		case "StatusText":
			s.status = value
		case "Job":
			s.job = value != "" && value != "0"
		}
	}
	return s, err
}
