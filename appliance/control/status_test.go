package control

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// TestUpgradeReport: an upgrade that was taken back is news of a node that works.
func TestUpgradeReport(t *testing.T) {
	t.Parallel()
	sum, _, err := upgrade.Sum(upgrade.SelfPath)
	if err != nil {
		t.Fatal(err)
	}
	for phase, want := range map[upgrade.Phase]api.Level{
		upgrade.Done:     "",
		upgrade.Staged:   api.Warning,
		upgrade.Returned: api.Note,
	} {
		dir := upgrade.In(t.TempDir())
		journal, err := json.Marshal(upgrade.Journal{Phase: phase, From: upgrade.Offer{SHA256: sum}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(string(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(string(dir), "journal.json"), journal, 0o600); err != nil {
			t.Fatal(err)
		}
		var seen problems.Seen
		UpgradeReport((&upgrade.Node{Directory: dir}).Init())(t.Context(), nil, &seen)
		var got api.Level
		if len(seen.Parts) > 0 {
			got = seen.Parts[0].Level
		}
		if got != want {
			t.Errorf("%s: got %+v, want a %q", phase, seen.Parts, want)
		}
	}
}
