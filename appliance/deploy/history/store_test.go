package history

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(historytest.In(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *Store, service string, e Entry) int {
	t.Helper()
	version, err := s.Begin(service, e)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestStore_SurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	full := Entry{
		Image:  "spider:0.01",
		Digest: "sha256:aa",
		At:     time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC),
		By:     "root",
		Kind:   KindRollback,
		From:   3,
		Stage:  StageUpdate,
		Why:    "it's <slow>",
		Took:   3 * time.Second,
		Spec:   json.RawMessage(`{"Name":"spider"}`),
	}
	if v := begin(t, s, "spider", full); v != 1 {
		t.Fatalf("got version %d", v)
	}
	err := s.Update("spider", 1, func(e *Entry) { e.Result, e.Stage, e.Version = Done, StageWatch, 99 })
	if err != nil {
		t.Fatal(err)
	}
	begin(t, s, "other-one", Entry{Kind: KindDeploy})

	again := open(t, dir)
	full.Version, full.Result, full.Stage = 1, Done, StageWatch
	if got := again.List("spider"); !reflect.DeepEqual(got, []Entry{full}) {
		t.Errorf("got  %+v\nwant %+v", got, full)
	}
	if got := again.Services(); !reflect.DeepEqual(got, []string{"other-one", "spider"}) {
		t.Errorf("got %v", got)
	}
	if v := begin(t, again, "spider", Entry{}); v != 2 {
		t.Errorf("got version %d", v)
	}
	if got := versions(again.List("spider")); got != "2 1" {
		t.Errorf("got %s", got)
	}
	e, ok := again.Find("spider", 2)
	if !ok || e.Result != Running || time.Since(e.At) > time.Minute {
		t.Errorf("got %+v", e)
	}
	if _, ok := again.Find("spider", 3); ok {
		t.Error("found what is not there")
	}
}

func TestStore_Names(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for name, good := range map[string]bool{
		"spider":                true,
		"9":                     true,
		"a-c_D":                 true,
		strings.Repeat("a", 63): true,
		"":                      false,
		".":                     false,
		"a.b":                   false,
		"..":                    false,
		".spider":               false,
		"-spider":               false,
		"../spider":             false,
		"a/b":                   false,
		"a\\b":                  false,
		"a\x00b":                false,
		"a b":                   false,
		"spider\n":              false,
		"spïder":                false,
		strings.Repeat("a", 64): false,
	} {
		if _, err := s.Begin(name, Entry{}); (err == nil) != good {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestStore_KeepsFifty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for range maxEntries + 3 {
		begin(t, s, "spider", Entry{Result: Failed})
	}
	got := open(t, dir).List("spider")
	if len(got) != maxEntries || got[0].Version != maxEntries+3 || got[maxEntries-1].Version != 4 {
		t.Errorf("got %s", versions(got))
	}
	if err := s.Update("spider", 3, func(*Entry) {}); err == nil || !strings.Contains(err.Error(), "no version 3") {
		t.Errorf("got %v", err)
	}
}

// TestStore_Scaled: changes of replicas are kept with the version that ran, the newest fifty of a service, and are no
// versions of their own. What nothing was known of has one by then.
func TestStore_Scaled(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	scale := func(service string, to int) {
		t.Helper()
		is := Scaling{By: "autoscale", From: to - 1, To: to, Why: "why"}
		if err := s.Scaled(service, is, Entry{Image: "i:1", Digest: "d"}); err != nil {
			t.Fatal(err)
		}
	}
	scale("found", 1)
	if is := s.List("found"); len(is) != 1 || is[0].Version != 1 || is[0].Kind != KindFound || is[0].Result != Done ||
		is[0].Image != "i:1" || len(is[0].Scaled) != 1 {
		t.Errorf("%+v", is)
	}
	begin(t, s, "spider", Entry{Kind: KindDeploy, Image: "s:1", Result: Done})
	for to := range 30 {
		scale("spider", to)
	}
	begin(t, s, "spider", Entry{Kind: KindDeploy, Image: "s:2", Result: Done})
	for to := range 30 {
		scale("spider", 100+to)
	}
	is := s.List("spider")
	if len(is) != 2 || len(is[0].Scaled) != 30 || len(is[1].Scaled) != 20 || is[1].Scaled[0].To != 10 ||
		is[0].Scaled[29].To != 129 {
		t.Fatalf("%+v", is)
	}
	if e, ok := s.Previous("spider"); !ok || e.Version != 1 {
		t.Errorf("the version before is %+v", e)
	}
}

func TestStore_UnchangedWhereTheDiskFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	begin(t, s, "spider", Entry{Spec: json.RawMessage(`{}`)})
	if _, err := s.Begin("spider", Entry{Spec: json.RawMessage(`{`)}); err == nil {
		t.Error("a spec that is no JSON was taken")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err := s.Update("spider", 1, func(e *Entry) { e.Result = Done })
	if err == nil || !strings.Contains(err.Error(), "service spider") {
		t.Errorf("got %v", err)
	}
	if got := s.List("spider"); len(got) != 1 || got[0].Result != Running {
		t.Errorf("got %+v", got)
	}
}

func TestOpen_Damaged(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty":      "",
		"torn":       `[{"version":1`,
		"other":      `{"a":1}`,
		"twice":      `[{"version":1},{"version":1}]`,
		"no version": `[{}]`,
		"more":       `[] []`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "spider.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(historytest.In(filepath.Dir(path)))
			if err == nil || !strings.Contains(err.Error(), "spider") || !strings.Contains(err.Error(), "backup") ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Histories of versions that had other names for two stages are read.
func TestOpen_OlderStages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content :=
		`[{"version":1,"stage":"stage","result":"failed"},{"version":2,"stage":"flip","result":"running"},{"version":3,"stage":"watch"}]`
	if err := os.WriteFile(filepath.Join(dir, "spider.json"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for version, want := range map[int]Stage{1: StagePull, 2: StageUpdate, 3: StageWatch} {
		if e, ok := s.Find("spider", version); !ok || e.Stage != want {
			t.Errorf("version %d is at %s, want %s", version, e.Stage, want)
		}
	}
	if err := s.Update("spider", 2, func(e *Entry) { e.Result = Done }); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "spider.json"))
	if err != nil || strings.Contains(string(data), `"update"`) || !strings.Contains(string(data), `"stage":"flip"`) {
		t.Errorf("it is written as %s, %v", data, err)
	}
}

func TestStore_ManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 5 {
				version, err := s.Begin("spider", Entry{Digest: fmt.Sprint(i)})
				if err == nil {
					err = s.Update("spider", version, func(e *Entry) { e.Result = Done })
				}
				if err != nil {
					t.Error(err)
				}
				s.List("spider")
				s.Kept("spider", 2)
				s.Unfinished()
			}
		})
	}
	wg.Wait()
	got := open(t, dir)
	if len(got.List("spider")) != 20 || len(got.Unfinished()) != 0 || len(got.Kept("spider", 9)) != 4 {
		t.Errorf("got %+v", got.List("spider"))
	}
}

// TestStore_LongSpecs wants long histories to lose their oldest entries rather than to be refused.
func TestStore_LongSpecs(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	spec := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for range 6 {
		begin(t, s, "spider", Entry{Result: Done, Image: "spider:1", Spec: spec})
	}
	if got := versions(s.List("spider")); got != "6 5 4" {
		t.Errorf("kept are %s", got)
	}
}
