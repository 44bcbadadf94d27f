package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	quiet = slog.New(slog.DiscardHandler)
)

// swarm lists nodes.
type swarm []fleet.Node

func (s swarm) Nodes(context.Context) ([]fleet.Node, error) { return s, nil }

func open(t *testing.T) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(t.TempDir(), 1<<30, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put keeps a task that began in a minute and has written a line in each of so many seconds since.
func put(t *testing.T, s *logstore.Store, id, name string, minute, lines int) {
	t.Helper()
	service, _, _ := strings.Cut(name, ".")
	began := epoch.Add(time.Duration(minute) * time.Minute)
	w, _, err := s.Write(logstore.Task{ID: id, Service: service, Name: name, Node: "h1", Began: began})
	if err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		at := began.Add(time.Duration(i) * time.Second)
		line := tasklog.Line{Time: at, Stream: tasklog.Stdout, Text: fmt.Sprintf("%s %d", id, i)}
		if err := w.Add(line, tasklog.Position{Latest: at, Same: 1, Out: 1, Last: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(began.Add(time.Duration(lines)*time.Second), 1, true); err != nil {
		t.Fatal(err)
	}
}

// nodes are those of a manager at 10.0.0.1, which keeps logs in own: one that is down, and one that is not reached.
func nodes(t *testing.T, own *logstore.Store) *Nodes {
	t.Helper()
	list := swarm{
		{ID: "n1", Display: "h1", Addr: "10.0.0.1", State: fleet.StateReady},
		{ID: "n2", Display: "h2", Addr: "10.0.0.2", State: "down"},
		{ID: "n3", Display: "h3", Addr: "10.0.0.3", State: fleet.StateReady},
	}
	nobody := func(fleet.Node) []member.Member { return nil }
	self := netip.MustParseAddr("10.0.0.1")
	peers := agent.NewPeers(list, nobody, http.DefaultClient, self, 1, Answer(own, quiet), quiet)
	return &Nodes{Peers: peers, Swarm: list, Copies: open(t), Log: quiet, after: map[string]int64{}}
}

// show returns what is shown and said of a view.
func show(t *testing.T, n *Nodes, v View) (lines, notes []string) {
	t.Helper()
	v.Show = func(_ logstore.Task, line tasklog.Line) error {
		lines = append(lines, line.Text)
		return nil
	}
	v.Note = func(text string) error {
		notes = append(notes, text)
		return nil
	}
	if _, err := n.Read(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	return lines, notes
}

// TestRead shows what all nodes keep, in the order of time, and of those that are away what managers have.
func TestRead(t *testing.T) {
	t.Parallel()
	own, other := open(t), open(t)
	put(t, own, "a", "spider.1", 0, 90)
	put(t, own, "b", "spider.2", 1, 5)
	put(t, own, "c", "other.1", 1, 5)
	for i := range 300 { // more than are read at a time
		put(t, own, fmt.Sprint("crash", i), "crash.1", i, 1)
	}
	put(t, other, "d", "spider.3", 1, 500)
	n := nodes(t, own)
	which := func(names ...string) View { return View{Which: Which{Names: names}, Tail: -1} }

	_, notes := show(t, n, which("spider"))
	if len(notes) != 2 || !strings.Contains(notes[0], "node h2 is down: what its tasks may have written is missing") ||
		!strings.Contains(notes[1], "node h3 cannot be asked") {
		t.Errorf("it says %q", notes)
	}
	// The copies of the node that is down, from when it was not.
	is, err := answering{other}.excerpts(t.Context(), agent.Peer{}, excerptsRequest{})
	if err != nil || len(is.Excerpts) != 1 {
		t.Fatal(is, err)
	}
	is.Excerpts[0].Task.Node, is.Excerpts[0].Task.NodeID = "h2", "n2"
	if err := n.keep(is.Excerpts[0]); err != nil {
		t.Fatal(err)
	}
	lines, notes := show(t, n, which("spider"))
	if len(notes) != 2 || !strings.Contains(notes[0], "h2 is down") || !strings.Contains(notes[0], "ends of 1 logs") {
		t.Errorf("it says %q", notes)
	}
	want := []string{}
	for i := range 60 {
		want = append(want, fmt.Sprintf("a %d", i))
	}
	for i := range 5 {
		want = append(want, fmt.Sprintf("a %d", 60+i), fmt.Sprintf("b %d", i))
	}
	if got := fmt.Sprint(lines[:70]); got != fmt.Sprint(want) {
		t.Errorf("it shows %s", got)
	}
	if last := lines[len(lines)-1]; len(lines) != 95+logstore.ExcerptLines || last != "d 499" {
		t.Errorf("there are %d lines, the last is %s", len(lines), last)
	}

	for name, tt := range map[string]struct {
		v    View
		want int
	}{
		"a task by name":  {which("spider.2"), 5},
		"a task by ID":    {which("a"), 90},
		"nothing":         {which("spid"), 0},
		"crashes":         {which("crash"), 300},
		"a node":          {View{Which: Which{Names: []string{"spider"}}, Node: "n2", Tail: -1}, 200},
		"the last":        {View{Which: Which{Names: []string{"spider"}}, Tail: 3}, 9},
		"none of them":    {View{Which: Which{Names: []string{"spider"}}, Tail: 0}, 0},
		"since":           {View{Which: Which{[]string{"spider"}, epoch.Add(85 * time.Second)}, Tail: -1}, 5 + 200},
		"grep":            {View{Which: Which{Names: []string{"spider"}}, Grep: `^(a|b) \d$`, Tail: -1}, 15},
		"the last that":   {View{Which: Which{Names: []string{"spider"}}, Grep: `^a \d$`, Tail: 2}, 2},
		"the last, a few": {View{Which: Which{Names: []string{"other"}}, Tail: 100}, 5},
	} {
		if lines, _ := show(t, n, tt.v); len(lines) != tt.want {
			t.Errorf("%s: %d lines, want %d: %.300q", name, len(lines), tt.want, lines)
		}
	}

	// Who shows ends it, also while much is read.
	stop := errors.New("nobody looks any longer")
	v := which("spider")
	v.Show, v.Note = func(logstore.Task, tasklog.Line) error { return stop }, func(string) error { return nil }
	if _, err := n.Read(t.Context(), v); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// TestCollect keeps what changed on the nodes that answer, once, and takes none for another's.
func TestCollect(t *testing.T) {
	t.Parallel()
	own := open(t)
	put(t, own, "a", "spider.1", 0, 300)
	n := nodes(t, own)
	n.collect(t.Context())
	is, known := n.Copies.Get("a")
	if !known || is.NodeID != "n1" || is.Node != "h1" || !is.Failed {
		t.Fatalf("there is %+v", is)
	}
	if n.after["n1"] != is.Changed || len(n.after) != 1 {
		t.Errorf("it goes on after %v", n.after)
	}
	put(t, own, "b", "spider.1", 1, 3)
	n.collect(t.Context())
	if is, known := n.Copies.Get("b"); !known || n.after["n1"] != is.Changed {
		t.Errorf("there is %+v", is)
	}
	is.NodeID = "n2"
	if err := n.keep(Excerpt{Task: is}); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("a node writes another's: %v", err)
	}
	// One that can't be kept is passed over.
	is.ID = "c"
	if err := n.Copies.Put(is, nil); err != nil {
		t.Fatal(err)
	}
	put(t, own, "c", "spider.1", 2, 3)
	put(t, own, "d", "spider.1", 3, 3)
	n.collect(t.Context())
	if is, known := n.Copies.Get("d"); !known || n.after["n1"] != is.Changed {
		t.Errorf("there is %+v", is)
	}
	n.Swarm = swarm{}
	n.collect(t.Context())
	if len(n.after) > 0 {
		t.Errorf("a node that is gone is known: %v", n.after)
	}
}

// TestCalls asks over the wire: what comes is what is kept, and nothing else is answered.
func TestCalls(t *testing.T) {
	t.Parallel()
	own := open(t)
	put(t, own, "a", "spider.1", 0, 5000)
	mux := http.NewServeMux()
	for _, h := range Answer(own, quiet) {
		mux.Handle(h.Route(), h)
	}
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	to := agent.Target{Client: srv.Client(), Addr: netip.MustParseAddrPort(srv.Listener.Addr().String())}
	ctx := t.Context()

	if is, err := listCall.Ask(ctx, to, Which{Names: []string{"spider"}}); err != nil || len(is.Tasks) != 1 {
		t.Errorf("listed are %+v, %v", is, err)
	}
	req, n := readRequest{Task: "a"}, 0
	for {
		page, err := readCall.Ask(ctx, to, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range page.Lines {
			at := epoch.Add(time.Duration(n) * time.Second)
			if line.Text != fmt.Sprint("a ", n) || !line.Time.Equal(at) {
				t.Fatalf("line %d is %+v", n, line)
			}
			n++
		}
		if req.From = page.Next; page.End {
			break
		}
	}
	if n != 5000 {
		t.Errorf("%d lines came", n)
	}
	if is, err := excerptsCall.Ask(ctx, to, excerptsRequest{}); err != nil || len(is.Excerpts) != 1 ||
		len(is.Excerpts[0].Lines) != logstore.ExcerptLines {
		t.Errorf("excerpts: %+v, %v", is, err)
	}
	if _, err := readCall.Ask(ctx, to, readRequest{Task: "b"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an unknown task: %v", err)
	}
	long := strings.Repeat("a", maxGrep+1)
	for name, err := range map[string]error{
		"no name":                      ask(listCall, ctx, to, Which{}),
		"a path":                       ask(readCall, ctx, to, readRequest{Task: "../a"}),
		"no expression":                ask(readCall, ctx, to, readRequest{Task: "a", Grep: "("}),
		"a long expression":            ask(readCall, ctx, to, readRequest{Task: "a", Grep: long}),
		"a place before the beginning": ask(readCall, ctx, to, readRequest{Task: "a", Tail: -1}),
	} {
		var status *agent.StatusError
		if !errors.As(err, &status) || status.Code != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	places := []logstore.Cursor{
		{File: -1}, {File: 1, At: 5}, {File: 1, At: -5}, {File: 1 << 30}, {File: 1, Line: -1},
	}
	for _, at := range places {
		if _, err := readCall.Ask(ctx, to, readRequest{Task: "a", From: at}); err != nil {
			t.Errorf("from %+v: %v", at, err)
		}
	}
}

// TestAnswers_Hostile: nothing that a node answers takes many times its length in memory.
func TestAnswers_Hostile(t *testing.T) {
	t.Parallel()
	many := func(head, one, tail string) []byte {
		return []byte(head + strings.Repeat(one+",", 1<<15) + one + tail)
	}
	for name, err := range map[string]error{
		"tasks":          json.Unmarshal(many(`{"tasks":[`, `{}`, `]}`), &listAnswer{}),
		"lines":          json.Unmarshal(many(`{"Lines":[`, `{}`, `]}`), &page{}),
		"excerpts":       json.Unmarshal(many(`{"excerpts":[`, `{}`, `]}`), &excerptsAnswer{}),
		"of an excerpt":  json.Unmarshal(many(`{"excerpts":[{"lines":[`, `{}`, `]}]}`), &excerptsAnswer{}),
		"what is no log": json.Unmarshal(many(`{"excerpts":[{"lines":[`, `0`, `]}]}`), &excerptsAnswer{}),
	} {
		if err == nil {
			t.Errorf("%s: any number will do", name)
		}
	}
}

// TestRead_Hostile: a node that says that it has what was another's hides nothing of that, and one that goes in circles
// is left.
func TestRead_Hostile(t *testing.T) {
	t.Parallel()
	own := open(t)
	for _, id := range []string{"a", "n2"} { // a task of the node that is down, and that node itself
		put(t, own, id, "spider.1", 0, 1)
	}
	n := nodes(t, own)
	lost := logstore.Task{ID: "a", Service: "spider", Name: "spider.2", Node: "h2", NodeID: "n2", Began: epoch}
	if err := n.Copies.Put(lost, []tasklog.Line{{Time: epoch, Stream: tasklog.Stdout, Text: "the end"}}); err != nil {
		t.Fatal(err)
	}
	lines, _ := show(t, n, View{Which: Which{Names: []string{"spider"}}, Tail: -1})
	if !slices.Contains(lines, "the end") {
		t.Errorf("it shows %q", lines)
	}

	srv := httptest.NewTLSServer(readCall.Handler(quiet,
		func(context.Context, agent.Peer, readRequest) (page, error) { return page{}, nil }))
	defer srv.Close()
	to := agent.Target{Client: srv.Client(), Addr: netip.MustParseAddrPort(srv.Listener.Addr().String())}
	s := source{lines: make(chan tasklog.Line), read: onward(func(ctx context.Context, r readRequest) (page, error) {
		return readCall.Ask(ctx, to, r)
	})}
	s.ID = "a"
	s.run(t.Context(), View{Tail: -1}, 1)
	if s.err == nil || !strings.Contains(s.err.Error(), "again and again") {
		t.Errorf("got %v", s.err)
	}
}

// TestOnward_Slow: a node that lets each of many logs wait is left.
func TestOnward_Slow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, takes := 0, slowPage
		read := onward(func(context.Context, readRequest) (page, error) {
			asked++
			time.Sleep(takes)
			return page{Page: logstore.Page{End: true}}, nil
		})
		for range 10 * maxSlow {
			if _, err := read(t.Context(), readRequest{}); err != nil {
				t.Fatalf("a node that takes its time: %v", err)
			}
		}
		asked, takes = 0, slowPage+1
		for range 100 {
			_, _ = read(t.Context(), readRequest{})
		}
		if _, err := read(t.Context(), readRequest{}); asked != maxSlow || err == nil {
			t.Errorf("a node that is slow was asked %d times, and then %v", asked, err)
		}
	})
}

func ask[Req, Resp any](c agent.Call[Req, Resp], ctx context.Context, to agent.Target, r Req) error {
	_, err := c.Ask(ctx, to, r)
	return err
}
