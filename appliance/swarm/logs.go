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
	body, err := e.cli.TaskLogs(ctx, task, opts)
	return body, e.explain(err)
}
