package apitest

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

func (c *Cluster) Services(context.Context) ([]fleet.Service, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return slices.Clone(c.services), nil
}

func (c *Cluster) Inspect(_ context.Context, service string) (api.Inspect, error) {
	if err := c.manager(); err != nil {
		return api.Inspect{}, err
	}
	defer c.mu.Unlock()
	s, err := c.service(service)
	if err != nil {
		return api.Inspect{}, err
	}
	env := []string{"QUEUE=10.77.0.11:7891", "REDIS_URL=redis://default:hush@10.77.0.11:7891", "API_KEY=hush"}
	return api.Inspect{Service: *s, Spec: map[string]any{"Name": s.Name, "Env": env}}, nil
}

func (c *Cluster) Tasks(_ context.Context, q api.TaskQuery) ([]fleet.Task, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if q.Service != "" {
		if _, err := c.service(q.Service); err != nil {
			return nil, err
		}
	}
	if q.Node != "" {
		if _, err := c.node(q.Node); err != nil {
			return nil, err
		}
	}
	var tasks []fleet.Task
	for _, t := range c.tasks {
		replaced := t.Desired == fleet.TaskShutdown
		if (q.Service == "" || t.Service == q.Service) && (q.Node == "" || t.Node == q.Node) && (q.All || !replaced) {
			tasks = append(tasks, t)
		}
	}
	return tasks, nil
}

// Logs implements Backend: each task of the target has written two lines,
// the second to stderr. The logs of "broken" break off after the first line.
func (c *Cluster) Logs(ctx context.Context, q api.LogQuery, fn func(api.LogLine) error) error {
	lines, err := c.lines(q)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := fn(l); err != nil {
			return err
		}
		if strings.HasPrefix(l.Task, "broken.") {
			return fail(api.CodeUnavailable, "node h2 went away; its logs come back with it")
		}
	}
	if q.Follow {
		return c.wait(ctx, "logs")
	}
	return nil
}

func (c *Cluster) lines(q api.LogQuery) ([]api.LogLine, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	service, _, _ := strings.Cut(q.Target, ".")
	if _, err := c.service(service); err != nil {
		return nil, err
	}
	var lines []api.LogLine
	for _, t := range c.tasks {
		if t.Service != service || t.Desired == fleet.TaskShutdown && !q.All || q.Node != "" && q.Node != t.Node ||
			(q.Target != service && q.Target != t.Name()) {
			continue
		}
		_, version, _ := strings.Cut(t.Image[strings.LastIndexByte(t.Image, '/')+1:], ":")
		own := []api.LogLine{
			{
				Time:    t.Since,
				Task:    t.Name(),
				TaskID:  t.ID,
				Node:    t.Node,
				Version: version,
				Mixed:   q.All,
				Stream:  "stdout",
				Text:    "got: item of " + t.Name(),
			},
			{
				Time:    c.now,
				Task:    t.Name(),
				TaskID:  t.ID,
				Node:    t.Node,
				Version: version,
				Mixed:   q.All,
				Stream:  "stderr",
				Text:    "warning: slow answer",
			},
		}
		own = slices.DeleteFunc(own, func(l api.LogLine) bool { return l.Time.Before(q.Since) })
		if q.Tail >= 0 {
			own = own[max(0, len(own)-q.Tail):]
		}
		lines = append(lines, own...)
	}
	if service == "robot" {
		lines = append(lines, api.LogLine{Time: c.now, Text: "node h3 does not answer; its lines are missing"})
	}
	return lines, nil
}

// Execute implements Backend: each program writes its name, copies its input to its output and ends
// with 3. "broken" has none.
func (c *Cluster) Execute(_ context.Context, r taskexec.Request) (io.ReadWriteCloser, error) {
	if strings.HasPrefix(r.Task, "broken") {
		return nil, fail(api.CodeConflict, "broken.1 is failed; `crawlbox ps broken` shows which tasks run")
	}
	in, to := io.Pipe()
	if !r.Input {
		to.Close()
	}
	near, far := net.Pipe()
	go taskexec.Serve(context.Background(), far, program{PipeWriter: to, in: in, name: r.Command[0]})
	return near, nil
}

type program struct {
	*io.PipeWriter
	in   *io.PipeReader
	name string
}

func (p program) CloseInput() error                         { return p.PipeWriter.Close() }
func (program) Resize(context.Context, taskexec.Size) error { return nil }
func (program) ExitCode(context.Context) (int, error)       { return 3, nil }

func (p program) Close() error { return p.in.Close() }

func (p program) Output(stdout, _ io.Writer) error {
	_, err := io.Copy(stdout, io.MultiReader(strings.NewReader(p.name+"\n"), p.in))
	return err
}
