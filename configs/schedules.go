package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/planned"
	"github.com/crawlbox/crawlbox/configs/document"
)

// schedulesKey is where schedules stand in the file. viper never sees them: it folds the case of keys.
const schedulesKey = "schedules"

// Schedule begins runs of a service at planned times.
type Schedule struct {
	Name    string
	Service string
	Cron    string // five fields, @daily or the like, or @every 15m
	Zone    string // of the IANA's database; empty, the default: UTC
	Jitter  time.Duration
	Overlap string // skip, the default, wait or replace
	Missed  string // run-once, the default, or skip
	AtMost  int    // runs at a time; default 1

	Args     map[string]string
	Command  []string      // in place of the service's; nil, the default: that
	Replicas int           // default 1
	Retries  int           // default 2
	Timeout  time.Duration // 0, the default: none
}

// defaultRetries is that of `crawlbox run` too.
const defaultRetries = 2

// maxScheduleName bounds the name of a schedule: its runs are named by it and their planned time.
const maxScheduleName = 40

// scheduleReader reads one schedule.
type scheduleReader struct {
	*document.Problems
	is *Schedule
}

// readSchedules returns the schedules of a file, sorted by name.
func readSchedules(root *yaml.Node, p *document.Problems) (list []Schedule) {
	for _, e := range document.Entries(root) {
		if e.Name != schedulesKey || document.IsNull(e.Value) {
			continue
		}
		if e.Value.Kind != yaml.MappingNode {
			p.Addf(e.Line, "schedules: must be a mapping of names to schedules, not %s", document.What(e.Value))
		}
		for _, one := range document.Entries(e.Value) {
			s := Schedule{Name: one.Name, AtMost: 1, Replicas: 1, Retries: defaultRetries}
			scheduleReader{p, &s}.read(one)
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Schedule) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// fields are the keys of a schedule.
func (r scheduleReader) fields() map[string]func(*yaml.Node) error {
	s := r.is
	return map[string]func(*yaml.Node) error{
		"service":  scalar(checked(&s.Service, naming.CheckService)),
		"cron":     scalar(checked(&s.Cron, func(text string) error { _, err := planned.Parse(text, ""); return err })),
		"tz":       scalar(text(&s.Zone)),
		"jitter":   scalar(span(&s.Jitter)),
		"timeout":  scalar(span(&s.Timeout)),
		"overlap":  scalar(oneOf(&s.Overlap, "skip", "wait", "replace")),
		"missed":   scalar(oneOf(&s.Missed, "run-once", "skip")),
		"at_most":  scalar(atLeast(1, &s.AtMost)),
		"replicas": scalar(atLeast(1, &s.Replicas)),
		"retries":  scalar(atLeast(0, &s.Retries)),
		"args":     r.args,
		"command":  r.command,
	}
}

func (r scheduleReader) read(e document.Entry) {
	place := schedulesKey + "." + e.Name
	if naming.CheckService(e.Name) != nil || len(e.Name) > maxScheduleName {
		r.Addf(e.Line, "%s: a schedule has a name of at most %d letters, digits, - and _", place, maxScheduleName)
		return
	}
	if e.Value.Kind != yaml.MappingNode {
		r.Addf(e.Line, "%s: must be a mapping with service and cron, not %s", place, document.What(e.Value))
		return
	}
	fields, whole := r.fields(), true
	for _, key := range document.Entries(e.Value) {
		set, known := fields[key.Name]
		if !known {
			var all []string
			for name := range fields {
				all = append(all, place+"."+name)
			}
			r.Addf(key.Line, "%s", document.UnknownKey(place+"."+key.Name, all, nil))
			whole = false
		} else if err := set(key.Value); err != nil {
			r.Addf(key.Line, "%s.%s: %s", place, key.Name, err)
			whole = false
		}
	}
	switch {
	case !whole:
	case r.is.Service == "":
		r.Addf(e.Line, "%s: service is missing, which says what runs", place)
	case r.is.Cron == "":
		r.Addf(e.Line, "%s: cron is missing, which says when, such as \"0 3 * * *\"", place)
	}
}

// scalar sets a field to a text or a number.
func scalar(f field) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || document.IsNull(n) {
			return fmt.Errorf("must be a text or a number, not %s", document.What(n))
		}
		return f.set(n.Value)
	}
}

func checked(p *string, check func(string) error) field {
	return bind(p, func(s string) (string, error) { return s, check(s) }, func(s string) string { return s })
}

func oneOf(p *string, known ...string) field {
	return checked(p, func(s string) error {
		if !slices.Contains(known, s) {
			return fmt.Errorf("must be one of %q, not %q", known, s)
		}
		return nil
	})
}

func span(p *time.Duration) field {
	return bind(p, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("must be a duration such as 10m or 6h, not %q", s)
		}
		return d, nil
	}, time.Duration.String)
}

func atLeast(least int, p *int) field {
	return bind(p, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least {
			return 0, fmt.Errorf("must be a whole number, %d or more, not %q", least, s)
		}
		return n, nil
	}, strconv.Itoa)
}

func (r scheduleReader) args(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("must be a mapping such as {site: shop}, not %s", document.What(n))
	}
	r.is.Args = map[string]string{}
	for _, e := range document.Entries(n) {
		if e.Value.Kind != yaml.ScalarNode || document.IsNull(e.Value) {
			return fmt.Errorf("the argument %s must be a text or a number, not %s", e.Name, document.What(e.Value))
		}
		r.is.Args[e.Name] = e.Value.Value
	}
	return nil
}

func (r scheduleReader) command(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return fmt.Errorf("must be a list such as [scrapy, crawl, quotes], not %s", document.What(n))
	}
	for _, word := range n.Content {
		if word.Kind != yaml.ScalarNode || document.IsNull(word) {
			return fmt.Errorf("a word of it must be a text, not %s", document.What(word))
		}
		r.is.Command = append(r.is.Command, word.Value)
	}
	return nil
}

// showSchedules writes the schedules with what a mask leaves of them. No variables are meant in them.
func showSchedules(c Config, root *yaml.Node, m mask) error {
	if len(c.Schedules) == 0 {
		return nil
	}
	all := map[string]any{}
	for _, s := range c.Schedules {
		is := map[string]any{
			"service": s.Service, "cron": s.Cron, "at_most": s.AtMost, "replicas": s.Replicas, "retries": s.Retries,
		}
		for name, value := range map[string]string{"tz": s.Zone, "overlap": s.Overlap, "missed": s.Missed} {
			if value != "" {
				is[name] = value
			}
		}
		for name, value := range map[string]time.Duration{"jitter": s.Jitter, "timeout": s.Timeout} {
			if value > 0 {
				is[name] = value.String()
			}
		}
		if s.Args != nil {
			is["args"] = s.Args
		}
		if s.Command != nil {
			is["command"] = s.Command
		}
		all[s.Name] = is
	}
	shown, err := toPlain(all)
	if err != nil {
		return err
	}
	value, err := asNode(mask{open: m.open}.value("", shown))
	if err == nil {
		put(root, schedulesKey, value)
	}
	return err
}
