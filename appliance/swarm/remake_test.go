package swarm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	configs := map[string]string{"c": "c9"}
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

// TestSpec_OtherSwarm goes back to a version of a service that was kept in a swarm before: in this one its
// network, config and secret have other IDs.
func TestSpec_OtherSwarm(t *testing.T) {
	t.Parallel()
	updated := make(chan string, 1)
	of := func(id string, leader bool) *Engine {
		return engineOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
			switch path {
			case "services/s":
				fmt.Fprintf(w, `{"ID":"s","Spec":{"Name":"s","TaskTemplate":{"Networks":[{"Target":"net-%[1]s"}],
					"ContainerSpec":{"Image":"i","Configs":[{"ConfigID":"conf-%[1]s","ConfigName":"conf"}],
					"Secrets":[{"SecretID":"sec-%[1]s","SecretName":"sec"}]}}}}`, id)
			case "networks/net", "networks/net-" + id:
				if !leader {
					says(w, http.StatusNotFound, "network net-"+id+" not found") // as Docker says then
					return
				}
				fmt.Fprintf(w, `{"Id":"net-%s","Name":"net"}`, id)
			case "configs":
				fmt.Fprintf(w, `[{"ID":"conf-%s","Spec":{"Name":"conf"}}]`, id)
			case "secrets":
				fmt.Fprintf(w, `[{"ID":"sec-%s","Spec":{"Name":"sec"}}]`, id)
			case "services/s/update":
				body, _ := io.ReadAll(r.Body)
				updated <- string(body)
				fmt.Fprint(w, `{}`)
			default:
				says(w, http.StatusNotFound, path)
			}
		})
	}
	kept, err := of("old", true).Spec(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := of("new", true).Deploy(t.Context(), "s", servicespec.Deployment{Image: "j", Spec: kept})
	if err != nil || !replaced {
		t.Fatalf("%v, %v", replaced, err)
	}
	body := <-updated
	for _, want := range []string{"net-new", "conf-new", "sec-new"} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if strings.Contains(body, "-old") {
		t.Errorf("it names what the swarm before had: %s", body)
	}
	if kept, err := of("old", false).Spec(t.Context(), "s"); err == nil {
		t.Errorf("while no network can be looked up it keeps %s", kept)
	}
}
