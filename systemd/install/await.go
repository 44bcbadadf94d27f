package install

import (
	"context"
	"fmt"
	"strings"
	"time"

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
// three times; systemd goes on trying all the same.
func (m *Machine) Await(ctx context.Context, say func(status string)) error {
	var last string
	said, failures := map[string]bool{}, map[string]bool{}
	for {
		s, err := m.state(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if s.status != "" {
			last = s.status
		}
		if s.status != "" && !said[s.status] {
			said[s.status] = true
			say(s.status)
		}
		if s.active == "active" && !s.job {
			return nil
		}
		if s.sub == "auto-restart" || s.active == "failed" {
			failures[s.restarts] = true
		}
		if len(failures) >= patientFor || s.active == "failed" {
			return fmt.Errorf("the service does not start: %s; systemd goes on trying, `journalctl -u crawlbox` tells more", orNothing(last))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service is not ready yet (%s); systemd goes on with it, `systemctl status crawlbox` shows how far it is: %w", orNothing(last), context.Cause(ctx))
		case <-time.After(lookInterval):
		}
	}
}

func orNothing(status string) string {
	if status == "" {
		return "it has said nothing"
	}
	return status
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
