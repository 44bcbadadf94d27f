package api_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// TestTimes wants a span of time to be told in nanoseconds, and by a name that says so, and a time that
// is not known to be left out, in all that --json prints.
func TestTimes(t *testing.T) {
	t.Parallel()
	// of versions before, beside the new name
	old := map[string]bool{"history.Entry.Took": true}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(v reflect.Type) {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || seen[v] || !strings.Contains(v.PkgPath(), "crawlbox") {
			return
		}
		seen[v] = true
		for i := range v.NumField() {
			f := v.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			walk(f.Type)
			if f.Type == reflect.TypeFor[time.Time]() && name != "-" && options != "omitzero" {
				t.Errorf("%s.%s is 0001-01-01 in JSON where it is not known; add omitzero", v, f.Name)
			}
			isSpan := f.Type == reflect.TypeFor[time.Duration]()
			if isSpan && !strings.HasSuffix(name, "_ns") && name != "-" && !old[v.String()+"."+f.Name] {
				t.Errorf("%s.%s is %q in JSON; let its name end in _ns", v, f.Name, name)
			}
		}
	}
	for _, v := range []any{
		api.Status{}, api.Inspect{}, api.LogLine{}, api.Token{}, api.Items{}, api.BuildEvent{}, api.GCReport{},
		api.DeployRequest{}, api.Definition{}, fleet.Node{}, fleet.Service{}, fleet.Task{}, fleet.Image{},
		history.Entry{}, deploy.Progress{}, deploy.Plan{}, token.Info{}, doctor.Report{}, doctor.Neighbour{},
		upgrade.Event{}, api.RegistryAccount{}, api.BackupHolder{},
	} {
		walk(reflect.TypeOf(v))
	}
	if !seen[reflect.TypeFor[deploy.Summary]()] {
		t.Error("the summary of a change was not looked at")
	}
}
