package deploy

import (
	"fmt"
	"time"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Exit codes of programs that were ended by a signal: 128 and its number.
const (
	exitKilled     = 137
	exitTerminated = 143
)

// causeOf says why a task ended, from what its node knows of its container. ran says
// that it was healthy before.
func causeOf(t fleet.Task, c swarm.Container, ran bool) string {
	switch {
	case c.OutOfMemory && c.ExitCode == exitKilled:
		return "out of memory" + limitOf(c)
	case c.OutOfMemory: // another process of it was killed
		return t.Error + "; it was out of memory" + limitOf(c)
	case c.Health != swarm.Unhealthy:
		return t.Error
	}
	cause := "never became healthy: its health check failed"
	if ran {
		cause = "became unhealthy: its health check failed"
	}
	if c.Said != "" {
		cause += fmt.Sprintf(", last with %q", c.Said)
	}
	if c.ExitCode != 0 && c.ExitCode != exitKilled && c.ExitCode != exitTerminated {
		return t.Error + "; it " + cause // it may have ended by itself
	}
	return cause
}

// lateCause says why a task is given up that is not healthy after so long.
func lateCause(after time.Duration, c swarm.Container) string {
	cause := fmt.Sprintf("never became healthy: it has been starting for %s", after)
	switch {
	case c.Said != "":
		cause += fmt.Sprintf(", and its health check last said %q", c.Said)
	case c.Health != "":
		cause += ", and its health check has not answered yet"
	}
	return cause + " (--start-timeout gives it longer)"
}

func limitOf(c swarm.Container) string {
	if c.Memory == 0 {
		return ""
	}
	return " (limit " + units.CustomSize("%.4g %s", float64(c.Memory), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"}) + ")"
}
