package services

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/configs"
)

// host is a manager with a config file.
type host struct {
	*File
	*testing.T
	text string
}

// managersOf are the IDs of all managers, by which each is known.
func managersOf(ids ...string) func() []string { return func() []string { return ids } }

// hostOf is a manager that starts with a file.
func hostOf(t *testing.T, doc Shared, self Owner, text string) *host {
	t.Helper()
	h := &host{T: t, text: text}
	load := func() (configs.Config, error) {
		return configs.Parse("/etc/"+self.Name+".yaml", []byte(h.text))
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if self.First == nil {
		self.First = func() bool { return self.Created }
	}
	if h.File, err = NewFile(doc, self, cfg, load, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := h.apply(); err != nil {
		t.Fatal(err)
	}
	return h
}

// fileOf is that of a manager on its own.
func fileOf(t *testing.T, text string) *File {
	t.Helper()
	doc := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	return hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, text).File
}

func (h *host) write(text string) {
	h.Helper()
	if h.text = text; h.Read() != nil {
		h.Fatalf("%s: %v", text, h.Read())
	}
}

// want wants services to be in force, and says whether this manager is told that its own are not.
func (h *host) want(names string, told bool) {
	h.Helper()
	var have []string
	cfg, _, _ := h.Config()
	for _, s := range cfg.Services {
		have = append(have, s.Name)
	}
	if got := strings.Join(have, " "); got != names {
		h.Errorf("%s: %q are in force, want %q", h.self.Name, got, names)
	}
	notes := h.Notes()
	if is := len(notes) == 1 && notes[0].Kind == NotInForce; is != told || len(notes) > 1 {
		h.Errorf("%s is told %+v", h.self.Name, notes)
	}
}

const (
	one = "prune: true\nservices: {a: {image: i, environment: {TOKEN: hush, Q: '${CRAWLBOX_QUEUE_URL}/0'}}}\n"
	two = "services: {a: {image: i}, b: {image: i}}\n"
)

// TestFile: the file that was changed last is in force, on whatever manager; another one does not fight it.
func TestFile(t *testing.T) {
	t.Parallel()
	doc := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	h1 := hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, one)
	h1.want("a", false)
	all := managersOf("1", "2", "3")
	h2 := hostOf(t, doc, Owner{ID: "2", Name: "h2", Managers: all}, "{}")
	h2.want("a", false)
	mine, _, _ := h1.Config()
	if cfg, _, _ := h2.Config(); !cfg.Prune || cfg.Services[0].Hash != mine.Services[0].Hash {
		t.Errorf("the other manager has %+v, want %+v", cfg.Services[0], mine.Services[0])
	}
	// One that is new and has services means them.
	h3 := hostOf(t, doc, Owner{ID: "3", Name: "h3", Managers: all}, two)
	h1.want("a b", true)
	h2.want("a b", false)
	if note := h1.Notes()[0].Text; !strings.Contains(note, "/etc/h3.yaml on the manager h3") ||
		!strings.Contains(note, "not those of this one's /etc/h1.yaml") {
		t.Errorf("it is told %q", note)
	}
	// A start, and a change that means nothing, put nothing in force.
	hostOf(t, doc, h1.self, one).want("a b", true)
	h1.write("# not\n" + one)
	h1.want("a b", true)
	h1.write(strings.Replace(one, "i,", "i:2,", 1))
	h1.want("a", false)
	h3.want("a", true)
	h3.write("{}") // as it is told
	h1.want("a", false)
	h3.want("a", false)
	h1.write("{}")
	h3.want("", false)
	if cfg, _, _ := h3.Config(); cfg.Prune {
		t.Error("prune is still on")
	}
}

// TestFile_Late says what of a file counts after a restart only, until it is as it was.
func TestFile_Late(t *testing.T) {
	t.Parallel()
	h := hostOf(t, state.NewDocument(statetest.Open(t, t.TempDir()), state.Services),
		Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, "queue: {password: x}\n")
	h.write("queue: {password: x, safe: ['a:*'], window: 1}\n")
	notes := h.Notes()
	if len(notes) != 1 || notes[0].Kind != Late || !strings.HasPrefix(notes[0].Text, "queue.safe, queue.window in ") {
		t.Errorf("the notes are %+v", notes)
	}
	h.write("queue: {password: x}\nservices: {a: {image: b}}\n")
	if notes := h.Notes(); len(notes) != 0 {
		t.Errorf("the notes are %+v", notes)
	}
}

// TestFile_Upgrade: managers that were there before it was known whose services are in force do not put theirs there,
// and wait for the one that made the cluster, unless that is gone.
func TestFile_Upgrade(t *testing.T) {
	t.Parallel()
	doc := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	all := managersOf("1", "2")
	second := Owner{ID: "2", Name: "h2", Managers: all}
	h2 := hostOf(t, doc, second, two)
	h2.want("", false)
	h1 := hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: all}, one)
	if err := h2.apply(); err != nil {
		t.Fatal(err)
	}
	h1.want("a", false)
	h2.want("a", true)
	h2.write(two + "prune: true\n")
	h1.want("a b", true)

	second.First = func() bool { return true }
	alone := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	hostOf(t, alone, second, two).want("a b", false)
}

// TestFile_Restored: a manager that has restored the cluster has a file of whichever manager made the backup, and
// what was in force before stays so.
func TestFile_Restored(t *testing.T) {
	t.Parallel()
	doc := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, one)
	h2 := hostOf(t, doc, Owner{ID: "2", Name: "h2", Created: true, Managers: managersOf("2")}, two)
	h2.want("a", true)
	h2.write("services: {c: {image: i}}")
	h2.want("c", false)
	var is *force
	data, err := doc.Load()
	if err == nil {
		is, err = decodeForce(data)
	}
	if err != nil || len(is.Applied) != 1 {
		t.Errorf("managers that are gone are remembered: %+v, %v", is, err)
	}
}

// TestFile_Raced has two managers apply their files at once.
func TestFile_Raced(t *testing.T) {
	t.Parallel()
	disk := statetest.Open(t, t.TempDir())
	busy := &statetest.Busy{Store: disk}
	all := managersOf("1", "2")
	first := Owner{ID: "1", Name: "h1", Created: true, Managers: all}
	h1 := hostOf(t, state.NewDocument(busy, state.Services), first, one)
	h2 := hostOf(t, state.NewDocument(disk, state.Services), Owner{ID: "2", Name: "h2", Managers: all}, "{}")
	busy.Other = func() error { h2.text = two; return h2.Read() }
	busy.Times(1)
	h1.write("services: {c: {image: i}}")
	h1.want("c", false)
	h2.want("c", true)
}

// TestFile_Kept wants what can't be applied, or understood, to be told, and what was in force to stay.
func TestFile_Kept(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"imge: a\n": "/c.yaml:1: ",
		"imge: a\nprot: b\nregistry:\n  port: c\n": "3 mistakes, the first: /c.yaml:1: ",
	} {
		f := fileOf(t, one)
		f.load = func() (configs.Config, error) { return configs.Parse("/c.yaml", []byte(text)) }
		if err := f.Read(); !errors.As(err, new(*BrokenError)) {
			t.Fatalf("it is good: %v", err)
		}
		said := f.Notes()[0].Text
		if !strings.HasPrefix(said, "the config file is broken and the state before it stays: "+want) ||
			strings.Count(said, "/c.yaml") != 1 {
			t.Errorf("got %q", said)
		}
		if cfg, _, _ := f.Config(); len(cfg.Services) != 1 {
			t.Errorf("%d services are in force", len(cfg.Services))
		}
	}
	store := statetest.Open(t, t.TempDir())
	doc := state.NewDocument(store, state.Services)
	h := hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, one)
	h.File.Sync = func(context.Context) error { return errors.New("nobody answers") }
	h.sync()
	err := doc.Update("of another version", func(data []byte) ([]byte, error) {
		later := strings.NewReplacer(`"image":`, `"omage":`, `"hash":"`, `"hash":"x`)
		return []byte(later.Replace(string(data))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	notes := h.Notes()
	if _, _, err := h.Config(); err == nil || notes[0].Kind != Unready || notes[0].Text != err.Error() {
		t.Errorf("it is told %+v, %v", notes, err)
	}
}

// TestFile_Schedules: schedules are in force with the file, without services too, and where there are none the document
// is what it was for versions before.
func TestFile_Schedules(t *testing.T) {
	t.Parallel()
	doc := state.NewDocument(statetest.Open(t, t.TempDir()), state.Services)
	const nightly = "schedules: {nightly: {service: spider, cron: '@daily', args: {TOKEN: hush, price: $5}}}\n"
	h1 := hostOf(t, doc, Owner{ID: "1", Name: "h1", Created: true, Managers: managersOf("1")}, nightly)
	h2 := hostOf(t, doc, Owner{ID: "2", Name: "h2", Managers: managersOf("1", "2")}, "{}")
	cfg, _, err := h2.Config()
	if err != nil || len(cfg.Schedules) != 1 {
		t.Fatalf("the other manager has %+v, %v", cfg.Schedules, err)
	}
	if args := cfg.Schedules[0].Args; args["TOKEN"] != "hush" || args["price"] != "$5" {
		t.Errorf("its arguments are %v", args)
	}
	h1.write(strings.Replace(nightly, "daily", "weekly", 1))
	if cfg, _, err = h2.Config(); err != nil || cfg.Schedules[0].Cron != "@weekly" {
		t.Errorf("changed: %+v, %v", cfg.Schedules, err)
	}
	h1.write("{}")
	if cfg, _, err = h2.Config(); err != nil || len(cfg.Schedules) > 0 {
		t.Errorf("taken out: %+v, %v", cfg.Schedules, err)
	}
	if hashOf(configs.Config{}) != hashOf(configs.Config{Schedules: []configs.Schedule{}}) ||
		hashOf(configs.Config{}) == hashOf(configs.Config{Schedules: []configs.Schedule{{Name: "a"}}}) {
		t.Error("a schedule makes no other config, or none does")
	}
}
