package swarm

import (
	"context"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// Container is what a node's engine knows of a task's container and Swarm does not.
type Container struct {
	Running     bool   `json:"running"`
	ExitCode    int    `json:"exit_code"`
	OutOfMemory bool   `json:"out_of_memory"` // the kernel killed a process of it for that
	Memory      int64  `json:"memory"`        // its limit, in bytes; 0: none
	Health      string `json:"health"`        // starting, healthy or unhealthy; empty: it has no check
	Said        string `json:"said"`          // what its check said last, in one line
}

// Unhealthy is the health of a container whose check failed too often. Docker stops
// it then.
const Unhealthy = "unhealthy"

// Container looks at a container of this engine, by ID, also one that has ended.
// ErrNotFound is wrapped where there is none.
func (e *Engine) Container(ctx context.Context, id string) (Container, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	found, err := e.cli.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, e.explain(err)
	}
	if found.ContainerJSONBase == nil || found.State == nil {
		return Container{}, nil
	}
	c := Container{Running: found.State.Running, ExitCode: found.State.ExitCode, OutOfMemory: found.State.OOMKilled}
	if found.HostConfig != nil {
		c.Memory = found.HostConfig.Memory
	}
	if h := found.State.Health; h != nil && h.Status != container.NoHealthcheck {
		c.Health = h.Status
		c.Said = lastSaid(h.Log)
	}
	return c, nil
}

// lastSaid is what a health check said last. The one that was under way when Docker
// stopped the container has said nothing.
func lastSaid(log []*container.HealthcheckResult) string {
	for _, result := range slices.Backward(log) {
		if said := lastLineOf(result.Output); said != "" {
			return said
		}
	}
	return ""
}

// maxSaid is how much of what a health check said is passed on, in bytes.
const maxSaid = 200

// lastLineOf is where programs say what went wrong.
func lastLineOf(text string) string {
	text = strings.TrimSpace(text)
	text = oneLine(text[strings.LastIndexByte(text, '\n')+1:])
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return text
}
