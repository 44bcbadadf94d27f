package services

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

// swarm is one in memory.
type swarm struct {
	nodes []fleet.Node
	kept  []servicespec.Valkey
	said  string // in a trial
	tasks []fleet.Task
	again []string // services that were started again
}

func (s *swarm) Tasks(context.Context, string) ([]fleet.Task, error) { return s.tasks, nil }

func (s *swarm) StartAgain(_ context.Context, service string) error {
	s.again = append(s.again, service)
	return nil
}

func (s *swarm) Nodes(context.Context) ([]fleet.Node, error) { return s.nodes, nil }

func (s *swarm) KeepOwn(_ context.Context, list []servicespec.Valkey) error {
	s.kept = list
	return nil
}

func (s *swarm) Try(_ context.Context, image string, command []string) (string, error) {
	if image != "valkey:8@sha256:1" || command[0] != "valkey-server" {
		return "", errors.New("it is another image")
	}
	return s.said, nil
}

type source struct{ err error }

func (s source) Resolve(_ context.Context, named string) (string, *deploy.Source, error) {
	fetch := func(context.Context, func(int64, int64)) error { return s.err }
	return named + "@sha256:1", &deploy.Source{Copy: fetch}, nil
}

func TestManagers(t *testing.T) {
	t.Parallel()
	node := func(id, role, availability, state string) fleet.Node {
		return fleet.Node{ID: id, Role: role, Availability: availability, State: state, Addr: "10.0.0.1"}
	}
	s := &swarm{nodes: []fleet.Node{
		node("m", fleet.RoleManager, fleet.AvailabilityActive, fleet.StateReady),
		node("down", fleet.RoleManager, fleet.AvailabilityActive, fleet.StateDown),
		node("drained", fleet.RoleManager, fleet.AvailabilityDrain, fleet.StateReady),
		node("w", fleet.RoleWorker, fleet.AvailabilityActive, fleet.StateReady),
	}}
	c := New(s, source{}, nil)
	list, err := c.Managers(t.Context())
	if err != nil || len(list) != 4 || !list[0].Usable || !list[1].Usable || list[2].Usable || list[3].Usable {
		t.Fatalf("%+v, %v", list, err)
	}
	c.down["down"] = c.down["down"].Add(-downFor)
	if list, err = c.Managers(t.Context()); err != nil || list[1].Usable {
		t.Errorf("down for long: %+v, %v", list, err)
	}
	s.nodes[1].State = fleet.StateReady
	if list, err = c.Managers(t.Context()); err != nil || !list[1].Usable {
		t.Errorf("back: %+v, %v", list, err)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	s := &swarm{said: "Valkey version=8.1.0, bits=64\nFailed to configure TLS.\n"}
	pinned, err := New(s, source{}, nil).Image(t.Context(), "valkey:8")
	if pinned != "valkey:8@sha256:1" || err != nil {
		t.Errorf("%s, %v", pinned, err)
	}
	s.said = "Redis version=6.0.16, bits=64\nFailed to configure TLS.\n"
	_, err = New(s, source{}, nil).Image(t.Context(), "valkey:8")
	want := "queue.image valkey:8 can't keep it (its version 6.0.16 is older than 7.0): name another there, such as " +
		"the default valkey/valkey:8.1-alpine"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	_, err = New(s, source{errors.New("no such host")}, nil).Image(t.Context(), "valkey:8")
	if err == nil || !strings.Contains(err.Error(), "no such host") || !strings.Contains(err.Error(), "queue.image") {
		t.Errorf("%v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := &swarm{}
	at := netip.MustParseAddrPort("[fd00::1]:7892")
	d := valkey.Document{
		Password: "a-password-that-nobody-sees",
		Keys:     valkey.Keys{CA: "CA ", Engine: valkey.Pair{Certificate: "CERT ", Key: "KEY "}},
		Engines:  []valkey.Engine{{Slot: 2, Node: "n", Addr: at, Image: "i@sha256:1", Memory: 1 << 30}},
	}
	if err := New(s, nil, nil).Run(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if len(s.kept) != 1 {
		t.Fatalf("%+v", s.kept)
	}
	v := s.kept[0]
	if v.Name != "crawlbox-queue-2" || v.Node != "n" || v.Image != "i@sha256:1" || v.Memory <= 2<<30 {
		t.Errorf("%+v", v)
	}
	command := strings.Join(v.Command, " ")
	for _, part := range []string{
		"valkey-server /run/secrets/crawlbox-queue.conf --bind fd00::1 --port 0 --tls-port 7892 ", " --dir /data",
		" --tls-key-file /run/secrets/crawlbox-queue.pem ", " --tls-auth-clients yes --tls-replication yes ",
	} {
		if !strings.Contains(command, part) {
			t.Errorf("%q is not in %q", part, command)
		}
	}
	spec, err := v.Spec([]string{"conf-id", "pem-id"})
	if err != nil {
		t.Fatal(err)
	}
	if text := spec.TaskTemplate.ContainerSpec; !text.ReadOnly || text.User == "" || len(text.CapabilityDrop) != 1 ||
		text.Secrets[0].SecretID != "conf-id" || text.Secrets[1].File.Name != "crawlbox-queue.pem" ||
		text.Secrets[1].File.Mode != 0o400 {
		t.Errorf("%+v", text)
	}
	conf, keys := string(v.Secrets[0].Data()), string(v.Secrets[1].Data())
	if strings.Contains(conf, d.Password) || !strings.Contains(conf, "min-replicas-to-write 1\n") {
		t.Errorf("it starts with %s", conf)
	}
	if keys != "CERT KEY CA " {
		t.Errorf("its keys are %s", keys)
	}
	public, err := json.Marshal(spec) // as docker service inspect shows it
	if err != nil || strings.Contains(string(public), "KEY") || strings.Contains(v.Secrets[1].Name, "KEY") {
		t.Errorf("anybody sees %s, %v", public, err)
	}
}

// TestStuck has Swarm leave an engine lying in all ways, and wants it to be told once, and nothing of one that runs or
// may yet, or whose node could not.
func TestStuck(t *testing.T) {
	t.Parallel()
	task := func(id, state, desired, node string) fleet.Task {
		return fleet.Task{ID: id, State: state, Desired: desired, NodeID: node}
	}
	const running = fleet.TaskRunning
	forgotten := task("t", fleet.TaskPending, running, "")
	old := task("old", fleet.TaskFailed, fleet.TaskShutdown, "n")
	for name, test := range map[string]struct {
		tasks []fleet.Task
		after time.Duration // 0: never
		away  bool
	}{
		"it runs":                     {[]fleet.Task{old, task("t", fleet.TaskRunning, running, "n")}, 0, false},
		"forgotten":                   {[]fleet.Task{old, forgotten}, unplaced, false},
		"forgotten, the node is away": {[]fleet.Task{old, forgotten}, 0, true},
		"none":                        {[]fleet.Task{old}, unplaced, false},
		"ended and not replaced":      {[]fleet.Task{task("t", fleet.TaskRejected, running, "n")}, unplaced, false},
		"ready for ever":              {[]fleet.Task{task("t", fleet.TaskReady, running, "n")}, starting, false},
		"preparing":                   {[]fleet.Task{old, task("t", "preparing", running, "n")}, starting, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			node := fleet.Node{
				ID: "n", Availability: fleet.AvailabilityActive, Addr: "10.0.0.1", State: fleet.StateReady,
			}
			if test.away {
				node.State = fleet.StateDown
			}
			s := &swarm{nodes: []fleet.Node{node}, tasks: test.tasks}
			c := New(s, source{}, slog.New(slog.DiscardHandler))
			d := valkey.Document{Engines: []valkey.Engine{{Slot: 1, Node: "n"}}}
			begun, took := time.Now(), time.Duration(0)
			for len(s.again) == 0 && time.Since(begun) < 2*starting {
				if _, err := c.Managers(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := c.Run(t.Context(), d); err != nil {
					t.Fatal(err)
				}
				if len(s.again) > 0 {
					took = time.Since(begun)
				}
				time.Sleep(5 * time.Second)
			}
			if took != test.after {
				t.Errorf("%s: it was told after %v, want %v", name, took, test.after)
			}
		})
	}
	s := &swarm{}
	c := New(s, source{}, slog.New(slog.DiscardHandler))
	c.ready = map[string]bool{"n": true}
	for i := range 100 { // each fails at once, and Swarm goes on
		s.tasks = []fleet.Task{task(strconv.Itoa(i), fleet.TaskReady, fleet.TaskReady, "n")}
		if err := c.startStuck(t.Context(), []valkey.Engine{{Slot: 1, Node: "n"}}); err != nil || len(s.again) > 0 {
			t.Fatalf("one that fails again and again: %v, %v", s.again, err)
		}
		c.waits["crawlbox-queue-1"] = wait{c.waits["crawlbox-queue-1"].what, time.Now().Add(-time.Hour)}
	}
}
