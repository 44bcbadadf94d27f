package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// TestHistory_InTheState takes over the history of the version before, and shares it.
func TestHistory_InTheState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "deploys", "spider.json")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`[{"version":7,"stage":"flip","result":"running"}]`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := state.Open(state.Dir(dir), state.Options{Dirs: state.Dirs(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	busy := &statetest.Busy{Store: disk}
	past, err := history.Open(state.NewGroup(busy, state.History))
	if err != nil {
		t.Fatal(err)
	}
	other, err := history.Open(state.NewGroup(disk, state.History))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := past.Unfinished()["spider"]; !ok || e.Version != 7 || e.Stage != history.StageUpdate {
		t.Errorf("taken over: %+v", e)
	}
	busy.Other = func() error {
		_, err := other.Begin("spider", history.Entry{Image: "other:1"})
		return err
	}
	busy.Times(2)
	if version, err := past.Begin("spider", history.Entry{Image: "own:1"}); err != nil || version != 10 {
		t.Errorf("version %d after two others, %v", version, err)
	}
	if len(past.List("spider")) != 4 || len(other.List("spider")) != 4 {
		t.Errorf("%v; the other has %v", past.List("spider"), other.List("spider"))
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Count(string(data), `"version"`) != 4 {
		t.Errorf("the version before finds %s, %v", data, err)
	}
	if err := past.Forget("spider", 10); err != nil || len(other.Services()) != 0 {
		t.Errorf("forgotten: %v; the other has %v", err, other.Services())
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the version before finds what was forgotten: %v", err)
	}
}
