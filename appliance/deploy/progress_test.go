package deploy

import (
	"encoding/json"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// Progress has the names in JSON that programs read, and reads the stages of versions that
// named two of them otherwise.
func TestProgress_JSON(t *testing.T) {
	t.Parallel()
	p := Progress{Service: "spider", Stage: history.StagePull, Desired: 3, Pulled: Pulled{Have: 1, Nodes: 2}}
	const want = `{"service":"spider","step":"pull","running":0,"desired":3,"stopping":0,"pulled":{"have":1,"nodes":2,"bytes":0,"total":0}}`
	if got, err := json.Marshal(p); err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	for name, want := range map[string]history.Stage{
		"stage":   history.StagePull,
		"flip":    history.StageUpdate,
		"watch":   history.StageWatch,
		"another": "another",
	} {
		var got Progress
		if err := json.Unmarshal([]byte(`{"step":"`+name+`"}`), &got); err != nil || got.Stage != want {
			t.Errorf("%s is read as %q, %v", name, got.Stage, err)
		}
	}
}

func TestTell(t *testing.T) {
	t.Parallel()
	var heard []Progress
	err := tell("spider", func(p Progress) { heard = append(heard, p) }, func(emit Emit) (Summary, error) {
		for _, running := range []int{0, 1, 1, 2} {
			emit(Progress{Stage: history.StageScale, Running: running, Desired: 2})
		}
		return Summary{Started: 2}, nil
	})
	if err != nil || len(heard) != 4 {
		t.Fatalf("heard %+v, %v", heard, err)
	}
	last := heard[3]
	if last.Service != "spider" || last.Running != 2 || last.Done == nil || last.Done.Started != 2 ||
		last.Title() != "scale to 2" {
		t.Errorf("at last it hears %+v", last)
	}
}

func TestPlan_String(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Plan{
		"unchanged spider":          {Service: "spider", Action: Unchanged, Steps: []string{"nothing to do"}},
		"create spider\n  pull: it": {Service: "spider", Action: Create, Steps: []string{"pull: it"}},
		"change spider: a, b\n  pull: it": {
			Service: "spider",
			Action:  Replace,
			Changes: []string{"a", "b"},
			Steps:   []string{"pull: it"},
		},
		"stop: a\nstop: b": {Steps: []string{"stop: a", "stop: b"}},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
