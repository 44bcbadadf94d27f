package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

const (
	// maxNodes bounds the nodes that are asked at a time what they have.
	maxNodes = 32
	// maxOpen bounds the logs that are read at a time, and ahead is how many of those are that come later.
	maxOpen = 128
	ahead   = 8
	// maxLast bounds the last lines that are kept of all tasks together where they are searched for, in bytes.
	maxLast = 32 << 20
)

// View says what of the kept logs is shown.
type View struct {
	Which
	Node string // ID in Swarm; empty: all
	Grep string
	Tail int // the last lines of each task; negative: all
	// Show is called with each line, in the order of time as far as that is known, and Note with sentences on what
	// is missing. Their errors end the view.
	Show func(logstore.Task, tasklog.Line) error
	Note func(text string) error
}

// source is the log of a task, wherever it is.
type source struct {
	logstore.Task
	read  func(ctx context.Context, r readRequest) (logstore.Page, error)
	lines chan tasklog.Line
	err   error // once lines is closed
}

// Read shows what is kept, and returns how many tasks it was of.
func (n *Nodes) Read(ctx context.Context, v View) (tasks int, err error) {
	nodes, err := n.Swarm.Nodes(ctx)
	if err != nil {
		return 0, err
	}
	if v.Node != "" {
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(is fleet.Node) bool { return is.ID != v.Node })
	}
	sources, notes := n.sources(ctx, v, nodes)
	for _, text := range notes {
		if err := v.Note(text); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	r := reading{View: v, sources: sources}
	defer r.running.Wait()
	defer cancel()
	if err := r.merge(ctx); err != nil {
		return len(sources), err
	}
	return len(sources), r.noteBroken()
}

// answer is what one node says of the tasks that are meant.
type answer struct {
	fleet.Node
	listAnswer
	err error
}

// sources returns the logs that are meant, those that began first before the others, and what there is to say of nodes
// that do not answer.
func (n *Nodes) sources(ctx context.Context, v View, nodes []fleet.Node) (list []*source, notes []string) {
	answers := make([]answer, len(nodes))
	var asked errgroup.Group
	asked.SetLimit(maxNodes)
	for i, node := range nodes {
		answers[i].Node = node
		if node.State != fleet.StateReady {
			answers[i].err = fmt.Errorf("it is %s", node.State)
			continue
		}
		asked.Go(func() error {
			answers[i].listAnswer, answers[i].err = listCall.Do(ctx, n.Peers, node, v.Which)
			return nil // others are asked for all that
		})
	}
	_ = asked.Wait()
	// Tasks that nodes say they have, by node and ID: none speaks for another. Nodes that may have more, by "".
	here := map[[2]string]bool{}
	for _, a := range answers {
		if here[[2]string{a.ID, ""}] = a.More; a.err != nil {
			continue
		}
		if a.More {
			text := fmt.Sprintf("node %s keeps logs of more tasks: the newest %d are shown", a.Display, len(a.Tasks))
			notes = append(notes, text)
		}
		ask := n.remote(a.Node)
		for _, t := range a.Tasks {
			here[[2]string{a.ID, t.ID}] = true
			t.Node = a.Display
			list = append(list, &source{Task: t, read: ask})
		}
	}
	copies := n.Copies.Tasks(func(t logstore.Task) bool {
		known := here[[2]string{t.NodeID, t.ID}] || here[[2]string{t.NodeID, ""}]
		return v.means(t) && !known && (v.Node == "" || v.Node == t.NodeID)
	})
	known := map[string]int{}
	for _, t := range copies {
		known[t.NodeID]++
		list = append(list, &source{Task: t, read: func(ctx context.Context, r readRequest) (logstore.Page, error) {
			return read(ctx, n.Copies, r)
		}})
	}
	for _, a := range answers {
		if a.err != nil {
			notes = append(notes, missing(a, known[a.ID]))
		}
	}
	slices.SortStableFunc(list, func(a, b *source) int { return a.Began.Compare(b.Began) })
	return list, notes
}

// remote reads all logs of a node.
func (n *Nodes) remote(node fleet.Node) func(context.Context, readRequest) (logstore.Page, error) {
	return onward(func(ctx context.Context, r readRequest) (page, error) {
		return readCall.Do(ctx, n.Peers, node, r)
	})
}

const (
	// slowPage is how long a node takes for a page where something is wrong with it, and maxSlow how often it may: it
	// reads 8 MB for one at the most.
	slowPage = 10 * time.Second
	maxSlow  = 5
)

// onward reads pages of a node that come to an end, or at the least further, and not too late too often.
func onward(ask func(context.Context, readRequest) (page, error)) func(context.Context, readRequest) (
	logstore.Page, error) {
	var slow atomic.Int32
	return func(ctx context.Context, r readRequest) (logstore.Page, error) {
		if slow.Load() >= maxSlow {
			return logstore.Page{}, errors.New("its node answers too slowly")
		}
		begun := time.Now()
		is, err := ask(ctx, r)
		if time.Since(begun) > slowPage {
			slow.Add(1)
		}
		if err == nil && !is.End && !after(is.Next, r.From) {
			err = errors.New("its node sends the same part again and again")
		}
		return is.Page, err
	}
}

// after reports whether a place is behind another.
func after(a, b logstore.Cursor) bool {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.At, b.At), cmp.Compare(a.Line, b.Line)) > 0
}

// missing says of a node what is not shown.
func missing(a answer, copies int) string {
	text := fmt.Sprintf("node %s is %s", a.Display, a.State)
	if a.State == fleet.StateReady {
		text = fmt.Sprintf("node %s cannot be asked for its logs (%s)", a.Display, a.err)
	}
	if copies == 0 {
		return text + ": what its tasks may have written is missing"
	}
	return text + fmt.Sprintf(": what its tasks wrote is missing, but for the ends of %d logs", copies)
}

// reading is one run of a view.
type reading struct {
	View
	sources []*source
	running sync.WaitGroup
	open    int
	begun   int // sources that were opened
}

// merge shows the lines of all sources, always the oldest one first of those that have begun.
func (r *reading) merge(ctx context.Context) error {
	var heads []head
	for {
		var upTo time.Time
		oldest := -1
		for i := range heads {
			if oldest < 0 || heads[i].line.Time.Before(heads[oldest].line.Time) {
				oldest = i
			}
		}
		if oldest >= 0 {
			upTo = heads[oldest].line.Time
		}
		// Those that began before it may have older lines.
		if s := r.due(ctx, upTo, len(heads)); s != nil {
			if line, more := <-s.lines; more {
				heads = append(heads, head{s, line})
			}
			continue
		}
		if oldest < 0 {
			return ctx.Err()
		}
		if err := r.Show(heads[oldest].Task, heads[oldest].line); err != nil {
			return err
		}
		var more bool
		if heads[oldest].line, more = <-heads[oldest].lines; !more {
			heads = slices.Delete(heads, oldest, oldest+1)
		}
	}
}

// head is the next line of a source.
type head struct {
	*source
	line tasklog.Line
}

// due returns the next source whose first line has to be known before one of a time is shown; the zero time: any. nil:
// there is none, or too many are open.
func (r *reading) due(ctx context.Context, upTo time.Time, open int) *source {
	for r.begun < min(len(r.sources), r.open+ahead) {
		s := r.sources[r.begun]
		s.lines = make(chan tasklog.Line, 64)
		r.begun++
		r.running.Go(func() { s.run(ctx, r.View, len(r.sources)) })
	}
	if r.open == len(r.sources) || open >= maxOpen {
		return nil
	}
	if s := r.sources[r.open]; upTo.IsZero() || !s.Began.After(upTo) {
		r.open++
		return s
	}
	return nil
}

// run sends the lines that are meant.
func (s *source) run(ctx context.Context, v View, among int) {
	defer close(s.lines)
	emit := func(line tasklog.Line) bool {
		select {
		case s.lines <- line:
			return true
		case <-ctx.Done():
			return false
		}
	}
	last := lastLines{lines: v.Tail, bytes: maxLast / max(1, among)}
	req := readRequest{Task: s.ID, Since: v.Since, Grep: v.Grep}
	if v.Tail > 0 && v.Grep == "" {
		req.Tail = v.Tail
	}
	for v.Tail != 0 {
		page, err := s.read(ctx, req)
		if err != nil {
			s.err = err
			break
		}
		for _, line := range page.Lines {
			if v.Tail > 0 {
				last.add(line)
			} else if !emit(line) {
				return
			}
		}
		if req.From, req.Tail = page.Next, 0; page.End {
			break
		}
	}
	for _, line := range last.list {
		if !emit(line) {
			return
		}
	}
}

// lastLines keeps the last lines, of which there is one at the least.
type lastLines struct {
	lines, bytes int
	list         []tasklog.Line
	size         int
}

func (k *lastLines) add(line tasklog.Line) {
	k.list, k.size = append(k.list, line), k.size+len(line.Text)
	for len(k.list) > k.lines || k.size > k.bytes && len(k.list) > 1 {
		k.size -= len(k.list[0].Text)
		k.list[0] = tasklog.Line{}
		k.list = k.list[1:]
	}
}

// noteBroken says which logs have not come in full, and why.
func (r *reading) noteBroken() error {
	r.running.Wait()
	var texts []string
	for _, s := range r.sources {
		if s.err != nil {
			text := fmt.Sprintf("the log of %s@%s has not come in full: %s", s.Name, s.Node, s.err)
			texts = append(texts, text)
		}
	}
	const shown = 5
	if n := len(texts) - shown; n > 0 {
		texts = append(texts[:shown], fmt.Sprintf("%d more logs have not come in full", n))
	}
	for _, text := range texts {
		if err := r.Note(text); err != nil {
			return err
		}
	}
	return nil
}
