package swarm

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
)

// LogOptions choose what of a log is read.
type LogOptions struct {
	Follow bool
	Tail   int       // the last messages; negative: all
	Since  time.Time // messages from then on; zero: from the beginning
}

// OpenLog opens the log of a task, by ID, as Docker sends it: package tasklog reads that. The
// reader ends with ctx.
func (e *Engine) OpenLog(ctx context.Context, task string, o LogOptions) (io.ReadCloser, error) {
	body, err := e.cli.TaskLogs(ctx, task, o.docker())
	return body, e.explain(err)
}

// OpenContainerLog opens the log of a container of this engine, by ID, in the same form. Of one that runs it ends,
// if it is followed, with the container.
func (e *Engine) OpenContainerLog(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error) {
	body, err := e.cli.ContainerLogs(ctx, id, o.docker())
	return body, e.explain(err)
}

func (o LogOptions) docker() container.LogsOptions {
	opts := container.LogsOptions{
		ShowStdout: true,
		ShowStderr: true,
		Timestamps: true,
		Follow:     o.Follow,
		Tail:       "all",
	}
	if o.Tail >= 0 {
		opts.Tail = strconv.Itoa(o.Tail)
	}
	if !o.Since.IsZero() {
		opts.Since = fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond())
	}
	return opts
}
