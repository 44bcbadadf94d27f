package data

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

const (
	// minInterval and maxInterval bound how often the queue is asked: what it counts it forgets when
	// nobody asks for a minute.
	minInterval, maxInterval = 100 * time.Millisecond, 30 * time.Second
	// lookEvery is how often all keys are looked at, for those that have most items.
	lookEvery = 10 * time.Second
	// smoothing is how far back a rate looks: what was so long ago counts a third.
	smoothing = 10 * time.Second
	// idle is the rate, in items a second, below which nothing seems to happen.
	idle = 0.05
)

func queueWatchCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [KEY...]",
		Short: "Show live how many items keys have, and how fast they come and go",
		Long: `Show again and again, until Ctrl-C, how many items keys have, how many come and
go in a second, and in what time they are empty if it goes on like that. Without
KEY it is of the keys that have most items, without strings.

IN/S and OUT/S are what the queue itself counts, NET/S is how fast the number of
items changes; all are averages of the last ten seconds or so. Items that expire
or are deleted go out too. Another Redis than crawlbox's own does not count per
key: then there is only NET/S. Where keys are safe (queue.safe in the config) IN
FLIGHT is how many items containers hold. With --json it is an object a line for
each key and look.`,
		Example:           "  crawlbox queue watch\n  crawlbox queue watch urls --interval 500ms --json",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.Complete(command.QueueKeys),
	}
	asJSON := command.JSONFlag(cmd)
	every := cmd.Flags().Duration("interval", 2*time.Second, "`time` between two looks")
	most := cmd.Flags().IntP("number", "n", 20, "how many `keys`, where none is named")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		switch {
		case *every < minInterval || *every > maxInterval:
			return command.Usagef(cmd, "--interval is %v; it must be from %v to %v", *every, minInterval, maxInterval)
		case *most < 1 || *most > api.MaxKeys/2:
			return command.Usagef(cmd, "--number is %d; it must be from 1 to %d", *most, api.MaxKeys/2)
		case slices.Contains(args, "") || len(args) > api.MaxKeys:
			return command.Usagef(cmd, "a key is empty, or there are more than %d", api.MaxKeys)
		}
		w := &watch{client: c, named: args, most: *most}
		return watchFlow(cmd.Context(), a, w, *every, *asJSON)
	})
	return cmd
}

func watchFlow(ctx context.Context, a *command.App, w *watch, every time.Duration, asJSON bool) error {
	look := func() (view, error) { return w.look(ctx) }
	first, err := look()
	if err != nil {
		return err
	}
	if asJSON {
		return command.Repeat(ctx, every, first, look, func(v view, err error) error {
			if err != nil {
				return nil // there is nothing new
			}
			enc := json.NewEncoder(a.Env.Stdout)
			enc.SetEscapeHTML(false)
			for _, r := range v.Rows {
				if err := enc.Encode(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var shown tui.Watch
	return command.Repeat(ctx, every, first, look, func(v view, err error) error {
		return shown.Show(a.Stdout(), func(s tui.Screen) {
			if renderFlow(s, v); err != nil {
				tui.WriteProblem(s, err.Error())
			}
		})
	})
}

// watch follows keys from one look to the next.
type watch struct {
	client *api.Client
	named  []string // empty: those that have most
	most   int

	shown  []string // that are followed where none is named
	more   int
	cut    bool
	looked time.Time // when all keys were
	last   time.Time
	keys   map[string]*followed
}

// followed is a key, and its rates in items a second.
type followed struct {
	api.KeyFlow
	known        bool // the rates
	counted      bool
	in, out, net float64
}

// view is what one look saw.
type view struct {
	Rows    []row
	More    int
	Cut     bool
	Counted bool
}

// row is a key of a view, for programs too. Rates are items a second; without one it is not known.
type row struct {
	Time  time.Time `json:"time"`
	Key   string    `json:"key"`
	Type  string    `json:"type,omitempty"`
	Items int64     `json:"items"`
	Held  *int64    `json:"in_flight,omitempty"` // of a safe key: those that consumers hold
	In    *float64  `json:"in,omitempty"`
	Out   *float64  `json:"out,omitempty"`
	Net   *float64  `json:"net,omitempty"`
	Left  *float64  `json:"left_seconds,omitempty"` // until it is empty, if it goes on like that
}

// look asks how the keys are. Where none is named it looks at all now and then, and goes on with
// those that something happens with though others have more.
func (w *watch) look(ctx context.Context) (view, error) {
	ask := w.named
	if len(w.named) == 0 && w.last.Sub(w.looked) < lookEvery {
		ask = w.shown
	}
	v, err := w.client.QueueFlow(ctx, ask, w.most)
	if err != nil {
		return view{}, err
	}
	if len(ask) == 0 {
		if err := w.choose(ctx, &v); err != nil {
			return view{}, err
		}
	}
	w.see(v)
	rows := w.rows(v.At)
	return view{rows, w.more, w.cut, v.Counted}, nil
}

// choose takes up which keys have most, and adds those that something happens with.
func (w *watch) choose(ctx context.Context, v *api.QueueFlow) error {
	w.looked, w.more, w.cut, w.shown = v.At, v.More, v.Cut, nil
	for _, k := range v.Keys {
		w.shown = append(w.shown, k.Key)
	}
	var busy []string
	for _, key := range slices.Sorted(maps.Keys(w.keys)) {
		k := w.keys[key]
		if k.known && max(k.in, k.out, math.Abs(k.net)) >= idle && !slices.Contains(w.shown, key) {
			busy = append(busy, key)
		}
	}
	if busy = busy[:min(len(busy), w.most)]; len(busy) == 0 {
		return nil
	}
	others, err := w.client.QueueFlow(ctx, busy, len(busy))
	if err != nil {
		return err
	}
	for _, k := range others.Keys {
		if k.Len > 0 {
			w.more-- // it is one of them
		}
		w.shown = append(w.shown, k.Key)
	}
	v.Keys = append(v.Keys, others.Keys...)
	return nil
}

// see makes of two looks the rates between them.
func (w *watch) see(v api.QueueFlow) {
	before := w.keys
	w.keys = map[string]*followed{}
	took := v.At.Sub(w.last).Seconds()
	for _, k := range v.Keys {
		now := &followed{KeyFlow: k, counted: v.Counted}
		w.keys[k.Key] = now
		was := before[k.Key]
		switch {
		case was == nil:
			continue
		case took <= 0: // the clock was set back
			now.known, now.in, now.out, now.net = was.known, was.in, was.out, was.net
			continue
		}
		if now.Type == "" {
			now.Type = was.Type // it is empty, and so there is none
		}
		weight := 1.0
		if was.known {
			weight = 1 - math.Exp(-took/smoothing.Seconds())
		}
		smooth := func(before float64, items int64) float64 { return before + weight*(float64(items)/took-before) }
		now.known, now.net = true, smooth(was.net, k.Len-was.Len)
		now.in, now.out = was.in, was.out
		if v.Counted && was.counted && k.In >= was.In && k.Out >= was.Out { // and not begun anew
			now.in, now.out = smooth(was.in, k.In-was.In), smooth(was.out, k.Out-was.Out)
		}
	}
	w.last = v.At
}

// rows returns the keys, those that have most first.
func (w *watch) rows(at time.Time) []row {
	rows := []row{}
	for _, k := range w.keys {
		r := row{Time: at, Key: k.Key, Type: k.Type, Items: k.Len, Held: k.InFlight}
		if k.known {
			net := rounded(k.net)
			r.Net = &net
			if k.counted {
				in, out := rounded(k.in), rounded(k.out)
				r.In, r.Out = &in, &out
			}
			if k.Len > 0 && k.net <= -idle {
				left := math.Ceil(float64(k.Len) / -k.net)
				r.Left = &left
			}
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Items, a.Items), strings.Compare(a.Key, b.Key))
	})
	return rows
}

// rounded returns a rate to a tenth, and 0 for one that is nearly none.
func rounded(rate float64) float64 {
	if math.Abs(rate) < idle {
		return 0
	}
	return math.Round(rate*10) / 10
}

func renderFlow(s tui.Screen, v view) {
	t := tui.Table{Columns: []tui.Column{{Head: "KEY", Min: 16}, {Head: "TYPE"}, {Head: "ITEMS"}}}
	safe := slices.ContainsFunc(v.Rows, func(r row) bool { return r.Held != nil })
	if safe {
		t.Columns[2].Head = "WAITING"
		t.Columns = append(t.Columns, tui.Column{Head: "IN FLIGHT"})
	}
	if v.Counted {
		t.Columns = append(t.Columns, tui.Column{Head: "IN/S"}, tui.Column{Head: "OUT/S"})
	}
	t.Columns = append(t.Columns, tui.Column{Head: "NET/S"}, tui.Column{Head: "EMPTY IN"})
	for _, r := range v.Rows {
		cells := []tui.Cell{
			tui.Text(r.Key), tui.Text(tui.OrDash(typeName(r.Type))), tui.Text(strconv.FormatInt(r.Items, 10)),
		}
		if safe {
			cells = append(cells, tui.Text(countText(r.Held)))
		}
		if v.Counted {
			cells = append(cells, tui.Text(rateText("%.1f", r.In)), tui.Text(rateText("%.1f", r.Out)))
		}
		t.Add(append(cells, tui.Text(rateText("%+.1f", r.Net)), tui.Text(leftText(r)))...)
	}
	t.Write(s)
	switch {
	case v.Cut:
		fmt.Fprintln(s.W, s.Fit("There are more keys, and not all were looked at; name those to watch."))
	case v.More > 0:
		fmt.Fprintln(s.W, s.Fit(fmt.Sprintf("%s with fewer items.", words.Count(v.More, "more key"))))
	}
}

func rateText(format string, rate *float64) string {
	switch {
	case rate == nil:
		return "-"
	case *rate == 0:
		return "0"
	}
	return fmt.Sprintf(format, *rate)
}

// maxLeft is from when on a time says nothing.
const maxLeft = 100 * 24 * time.Hour

// leftText says in what time a key is empty.
func leftText(r row) string {
	switch {
	case r.Items == 0:
		return "empty"
	case r.Left == nil && r.Net != nil && *r.Net > 0:
		return "grows"
	case r.Left == nil || *r.Left > maxLeft.Seconds():
		return "-"
	}
	return tui.Roughly(time.Duration(*r.Left) * time.Second)
}
