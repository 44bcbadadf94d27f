package swarm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// TestNewIDs_Service brings a service of another swarm to the IDs and the queue of this one.
func TestNewIDs_Service(t *testing.T) {
	t.Parallel()
	before := servicespec.Queue{URL: "redis://default:p@10.0.0.1:7891"}
	now := servicespec.Queue{URL: "redis://default:p@10.0.0.9:7891"}
	text, err := json.Marshal(map[string]any{
		"Name":   "s",
		"Labels": map[string]string{fleet.LabelQueue: before.Mark()},
		"TaskTemplate": map[string]any{"ContainerSpec": map[string]any{
			"Image":   "i",
			"Env":     []string{"REDIS_URL=" + before.URL, "A=b"},
			"Configs": []map[string]any{{"ConfigID": "c1", "ConfigName": "c"}},
			"Secrets": []map[string]any{{"SecretID": "s1", "SecretName": "sec"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := fleet.Object{Name: "s", Spec: text}
	configs := byID([]fleet.Object{{ID: "c1", Name: "c"}, {ID: "x", Name: "x"}}, []fleet.Object{{ID: "c9", Name: "c"}})
	spec, err := newIDs{configs, map[string]string{"sec": "s9"}}.service(o, now)
	if err != nil {
		t.Fatal(err)
	}
	c := spec.TaskTemplate.ContainerSpec
	if c.Configs[0].ConfigID != "c9" || c.Secrets[0].SecretID != "s9" {
		t.Errorf("the IDs are %+v, %+v", c.Configs[0], c.Secrets[0])
	}
	env := strings.Join(c.Env, " ")
	if !strings.Contains(env, "REDIS_URL="+now.URL) || strings.Contains(env, before.URL) ||
		!strings.Contains(env, "A=b") || spec.Labels[fleet.LabelQueue] != now.Mark() {
		t.Errorf("the environment is %s, the mark %s", env, spec.Labels[fleet.LabelQueue])
	}
	for want, ids := range map[string]newIDs{
		"docker secret create sec": {configs, nil},
		"config c is not there":    {nil, map[string]string{"sec": "s9"}},
	} {
		if _, err := ids.service(o, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
