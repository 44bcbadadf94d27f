package swarm

import (
	"bytes"
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// LogLine is one line that a task wrote. TaskID and NodeID are empty where the
// engine speaks about the stream itself.
type LogLine struct {
	Time   time.Time
	TaskID string
	NodeID string
	Stream string // stdout or stderr
	Text   string
}

// LogOptions choose log lines.
type LogOptions struct {
	Follow bool
	Tail   int       // last lines of each task; negative: all
	Since  time.Time // zero: from the beginning
}

// Logs calls fn for each line of a service, or of one task, by ID, until they
// end, ctx ends or fn fails. Lines of one task come in order.
func (e *Engine) Logs(ctx context.Context, id string, task bool, o LogOptions, fn func(LogLine) error) error {
	opts := container.LogsOptions{
		ShowStdout: true,
		ShowStderr: true,
		Timestamps: true,
		Details:    true,
		Follow:     o.Follow,
		Tail:       "all",
	}
	if o.Tail >= 0 {
		opts.Tail = strconv.Itoa(o.Tail)
	}
	if !o.Since.IsZero() {
		opts.Since = strconv.FormatFloat(float64(o.Since.UnixNano())/1e9, 'f', 9, 64)
	}
	read := e.cli.ServiceLogs
	if task {
		read = e.cli.TaskLogs
	}
	body, err := read(ctx, id, opts)
	if err != nil {
		return e.explain(err)
	}
	defer body.Close()
	_, err = stdcopy.StdCopy(&lineWriter{stream: "stdout", fn: fn}, &lineWriter{stream: "stderr", fn: fn}, body)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return e.explain(err)
}

// lineWriter cuts what is written into lines. The engine sends a line at a
// time except for very long ones.
type lineWriter struct {
	stream string
	fn     func(LogLine) error
	rest   []byte
}

// maxLine bounds the memory for a line without end; Docker's own bound for one
// message is 16 KiB, and it joins those of one line.
const maxLine = 1 << 20

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) < maxLine {
			return len(p), nil
		}
		line := w.rest
		if i >= 0 {
			line, w.rest = w.rest[:i], w.rest[i+1:]
		} else {
			w.rest = nil
		}
		if err := w.fn(parseLine(w.stream, string(line))); err != nil {
			return 0, err
		}
	}
}

// parseLine reads "TIME DETAILS TEXT", where DETAILS are comma separated
// key=value pairs, URL-encoded.
func parseLine(stream, s string) LogLine {
	l := LogLine{Stream: stream, Text: strings.TrimSuffix(s, "\r")}
	stamp, rest, ok := strings.Cut(l.Text, " ")
	if !ok {
		return l
	}
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return l
	}
	details, text, _ := strings.Cut(rest, " ")
	l.Time, l.Text = t, text
	for pair := range strings.SplitSeq(details, ",") {
		k, v, _ := strings.Cut(pair, "=")
		if v, err = url.QueryUnescape(v); err != nil {
			continue
		}
		switch k {
		case "com.docker.swarm.task.id":
			l.TaskID = v
		case "com.docker.swarm.node.id":
			l.NodeID = v
		}
	}
	return l
}
