package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs/compose"
	"github.com/crawlbox/crawlbox/configs/document"
)

// settings gathers the layers of everything but services.
type settings struct {
	*document.Problems
	viper    *viper.Viper
	checking bool        // see Checking
	odd      func(error) // as well
	// Where values come from, for errors.
	lines   map[string]int
	origins map[string]string
}

func newSettings(p *document.Problems) *settings {
	s := &settings{Problems: p, viper: viper.New(), lines: map[string]int{}, origins: map[string]string{}}
	defaults := Default()
	defaults.Queue = DefaultQueue()
	for _, k := range keys {
		s.viper.SetDefault(k.name, k.field(&defaults).text())
		_ = s.viper.BindEnv(k.name, k.env()) // Fails without a key only.
	}
	s.viper.SetDefault(queueEnabled, "")
	_ = s.viper.BindEnv(queueEnabled, envName(queueEnabled))
	return s
}

func (s *settings) override(name, value, origin string) {
	if _, ok := lookupKey(name); !ok && name != queueEnabled {
		s.Add(&document.Error{File: origin, Reason: document.UnknownKey(name, Keys(), nil)})
		return
	}
	s.viper.Set(name, value)
	s.origins[name] = origin
}

// readFile hands the settings of the file to viper, as text, and reports keys
// that are neither settings nor Compose's.
func (s *settings) readFile(root *yaml.Node) {
	file := map[string]any{}
	for _, e := range document.Entries(root) {
		switch {
		case compose.TakesKey(e, s.Problems), e.Name == schedulesKey, e.Name == alertsKey:
		case e.Name == "queue":
			s.readQueue(e, file)
		case isGroup(e.Name):
			s.readGroup(e, file)
		default:
			s.readKey(e.Name, e, file)
		}
	}
	if err := s.viper.MergeConfigMap(file); err != nil {
		s.Addf(0, "read settings: %v", err)
	}
}

// readQueue takes `queue:` with settings, with nothing, or with true or false.
func (s *settings) readQueue(e document.Entry, file map[string]any) {
	on := "true"
	if e.Value.Kind == yaml.ScalarNode && !document.IsNull(e.Value) {
		v, err := parseBool(e.Value.Value)
		if err != nil {
			s.Addf(e.Line, "queue: must be true, false, or a mapping with %s, not %q", groupKeys(e.Name), e.Value.Value)
			return
		}
		on = fmt.Sprint(v)
		e.Value = &yaml.Node{Kind: yaml.MappingNode}
	}
	s.lines[queueEnabled] = e.Line
	s.readGroup(e, file)
	group, ok := file["queue"].(map[string]any)
	if !ok {
		group = map[string]any{}
		file["queue"] = group
	}
	group["enabled"] = on
}

func (s *settings) readGroup(e document.Entry, file map[string]any) {
	if document.IsNull(e.Value) {
		return
	}
	if e.Value.Kind != yaml.MappingNode {
		s.Addf(e.Line, "%s: must be a mapping with %s, not %s", e.Name, groupKeys(e.Name), document.What(e.Value))
		return
	}
	group := map[string]any{}
	file[e.Name] = group
	for _, child := range document.Entries(e.Value) {
		s.readKey(e.Name+"."+child.Name, child, group)
	}
}

// readKey takes one value as the text that stands in the file: how YAML would
// read a password of digits does not matter.
func (s *settings) readKey(name string, e document.Entry, into map[string]any) {
	k, known := lookupKey(name)
	switch {
	case !known:
		s.Addf(e.Line, "%s", document.UnknownKey(name, siblings(name), Keys()))
	case strings.Contains(e.Name, "."):
		group, rest, _ := strings.Cut(name, ".")
		s.Addf(e.Line, "unknown key %q (write %s: below %s:)", name, rest, group)
	case document.IsNull(e.Value):
	case k.list && e.Value.Kind == yaml.SequenceNode:
		s.readList(name, e, into)
	case e.Value.Kind != yaml.ScalarNode && k.list:
		s.Addf(e.Line, "%s: must be a list, not %s", name, document.What(e.Value))
	case e.Value.Kind != yaml.ScalarNode:
		s.Addf(e.Line, "%s: must be a single value, not %s", name, document.What(e.Value))
	case k.path && e.Value.ShortTag() != "!!str":
		s.Addf(e.Line, "%s: must be a path (put it in quotes if it is one), not %q", name, e.Value.Value)
	default:
		into[e.Name] = e.Value.Value
		s.lines[name] = e.Line
	}
}

func (s *settings) readList(name string, e document.Entry, into map[string]any) {
	var items []string
	for _, item := range e.Value.Content {
		if item.Kind != yaml.ScalarNode || document.IsNull(item) {
			s.Addf(item.Line, "%s: must be a list of texts, not of %s", name, document.What(item))
			return
		}
		if strings.TrimSpace(item.Value) == "" {
			s.Addf(item.Line, "%s: %q is empty: take it out", name, item.Value)
			return
		}
		items = append(items, listItem(item.Value))
	}
	into[e.Name] = strings.Join(items, ",")
	s.lines[name] = e.Line
}

func groupKeys(group string) string {
	var names []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.name, group+"."); ok {
			names = append(names, rest)
		}
	}
	return strings.Join(names, ", ")
}

// config reads the winning text of every key into its field.
func (s *settings) config() Config {
	cfg := Default()
	if s.queueOn() {
		cfg.Queue = DefaultQueue()
	}
	for _, k := range keys {
		if k.ofQueue() && cfg.Queue == nil {
			continue
		}
		if err := k.field(&cfg).set(s.value(k)); err != nil {
			s.addProblem(k.name, err.Error())
		}
	}
	for _, problem := range cfg.check() {
		s.addKeyProblem(problem)
	}
	if s.checking && cfg.Queue != nil {
		for _, problem := range cfg.Queue.checkFiles() {
			s.addKeyProblem(problem)
		}
		s.tellOdd(*cfg.Queue)
	}
	return cfg
}

// tellOdd tells of what is set for a queue and does nothing, or is not what it looks like.
func (s *settings) tellOdd(q Queue) {
	if s.odd == nil {
		return
	}
	for _, problem := range q.odd(func(name string) bool { return s.place(name).File != "" }) {
		err := s.keyError(problem)
		s.odd(&err)
	}
}

// value returns the winning text. A relative path counts from the directory of the file
// that holds it, else from where crawlbox was started.
func (s *settings) value(k key) string {
	text := s.viper.GetString(k.name)
	if !k.path || text == "" || filepath.IsAbs(text) {
		return text
	}
	if s.place(k.name).Line > 0 {
		return filepath.Join(filepath.Dir(s.File), text)
	}
	abs, err := filepath.Abs(text)
	if err != nil {
		return text
	}
	return abs
}

// queueOn reports whether the queue runs: because it is said so, or because
// something of it is set at all.
func (s *settings) queueOn() bool {
	if text := s.viper.GetString(queueEnabled); text != "" {
		on, err := parseBool(text)
		if err != nil {
			s.addProblem(queueEnabled, err.Error())
		}
		return on
	}
	for _, k := range keys {
		if k.ofQueue() && s.place(k.name).File != "" {
			return true
		}
	}
	return false
}

func (s *settings) addProblem(name, reason string) {
	s.addKeyProblem(keyProblem{key: name, reason: reason})
}

func (s *settings) addKeyProblem(problem keyProblem) {
	err := s.keyError(problem)
	s.Add(&err)
}

func (s *settings) keyError(problem keyProblem) document.Error {
	name, reason := problem.key, problem.reason
	err := s.place(name)
	if err.File == "" {
		err = s.place(problem.other)
	}
	if name == queueEnabled {
		name = "queue"
	}
	err.Reason = words.OneLine(name + ": " + reason)
	return err
}

// place returns where the winning value of a key stands; empty for a default.
func (s *settings) place(name string) document.Error {
	if origin, ok := s.origins[name]; ok {
		return document.Error{File: origin}
	}
	if os.Getenv(envName(name)) != "" {
		return document.Error{File: envName(name)}
	}
	if line, ok := s.lines[name]; ok {
		return document.Error{File: s.File, Line: line}
	}
	return document.Error{}
}
