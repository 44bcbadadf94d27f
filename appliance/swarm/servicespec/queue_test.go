package servicespec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

const (
	urlNow    = "redis://default:now@h:7891"
	urlBefore = "redis://default:before@h:7891"
)

// TestTellQueue tells services of all kinds of the queue. old is the environment that a
// service had, and told the URL that it was told then.
func TestTellQueue(t *testing.T) {
	t.Parallel()
	both := func(url string) string { return " CRAWLBOX_QUEUE_URL=" + url + " REDIS_URL=" + url }
	queue := &Queue{URL: urlNow}
	value := compose.QueuePlaceholder + "/0"
	defined := &compose.Service{Name: "spider", Compose: composeOf(&value)}
	marshal := func(s swarm.ServiceSpec) json.RawMessage {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, tc := range map[string]struct {
		old  string
		told string
		d    Deployment
		want string
	}{
		"another image": {"A=1", "", Deployment{Image: "new", Queue: queue}, "A=1" + both(urlNow)},
		"nothing else":  {"A=1", "", Deployment{Image: "old", Queue: queue}, "A=1"},
		"a restart":     {"A=1", "", Deployment{Image: "old", Restart: true, Queue: queue}, "A=1" + both(urlNow)},
		"told already": {
			"A=1" + both(urlNow) + " Z=2", urlNow, Deployment{Image: "new", Queue: queue},
			"A=1" + both(urlNow) + " Z=2",
		},
		"another password": {
			"A=1" + both(urlBefore) + " Q=" + urlBefore + "/0", urlBefore, Deployment{Image: "old", Queue: queue},
			"A=1" + both(urlNow) + " Q=" + urlNow + "/0",
		},
		"who deploys knows no queue": {
			"A=1" + both(urlBefore), urlBefore, Deployment{Image: "new"}, "A=1" + both(urlBefore),
		},
		"the queue is off": {
			"A=1" + both(urlBefore), urlBefore, Deployment{Image: "old", Queue: &Queue{}}, "A=1",
		},
		"its own": {
			"REDIS_URL=redis://mine", "", Deployment{Image: "new", Queue: queue},
			"REDIS_URL=redis://mine CRAWLBOX_QUEUE_URL=" + urlNow,
		},
		"it wants none": {
			"", "", Deployment{Image: "new", Env: map[string]string{"REDIS_URL": "", "CRAWLBOX_QUEUE_URL": ""},
				Queue: queue}, "CRAWLBOX_QUEUE_URL= REDIS_URL=",
		},
		"its own from now on": {
			both(urlNow), urlNow, Deployment{Image: "new", Env: map[string]string{"REDIS_URL": "redis://mine"},
				Queue: queue}, "CRAWLBOX_QUEUE_URL=" + urlNow + " REDIS_URL=redis://mine",
		},
		"its image's own": {
			"", "", Deployment{Image: "new", Queue: &Queue{URL: urlNow, Image: []string{"REDIS_URL=redis://mine"}}},
			"CRAWLBOX_QUEUE_URL=" + urlNow,
		},
		"over TLS": {
			"", "", Deployment{Image: "new", Queue: &Queue{URL: urlNow, CA: "PEM"}},
			"CRAWLBOX_QUEUE_URL=" + urlNow + " CRAWLBOX_QUEUE_CA=PEM REDIS_URL=" + urlNow,
		},
		"no longer over TLS": {
			both(urlBefore) + " CRAWLBOX_QUEUE_CA=PEM", urlBefore, Deployment{Image: "old", Queue: queue},
			both(urlNow),
		},
		"defined": {
			"", "", Deployment{Image: "new", Definition: defined, Queue: queue}, "Q=" + urlNow + "/0" + both(urlNow),
		},
		"defined, and told": {
			"Q=" + urlBefore + "/0" + both(urlBefore), urlBefore,
			Deployment{Image: "old", Definition: defined, Queue: queue}, "Q=" + urlNow + "/0" + both(urlNow),
		},
		"back to one that was told": {
			"A=1", "", Deployment{Image: "older", Queue: queue, Spec: marshal(specOf(both(urlBefore), urlBefore))},
			both(urlNow),
		},
		"back to one that was not": {
			both(urlNow), urlNow, Deployment{Image: "older", Queue: queue, Spec: marshal(specOf("A=1", ""))}, "A=1",
		},
	} {
		s := specOf(tc.old, tc.told)
		before, err := PlainOf(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		if err := tc.d.TellQueue(&s, before); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(s.TaskTemplate.ContainerSpec.Env, " ")
		if got != strings.TrimSpace(tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		knows := ""
		for _, url := range []string{urlBefore, urlNow} {
			if strings.Contains(got, url) {
				knows = Queue{URL: url}.Mark()
			}
		}
		if s.Labels[fleet.LabelQueue] != knows {
			t.Errorf("%s: marked as %q, want %q", name, s.Labels[fleet.LabelQueue], knows)
		}
	}
}

// composeOf returns a definition with a variable Q.
func composeOf(value *string) (c types.ServiceConfig) {
	c.Name, c.Environment = "spider", types.MappingWithEquals{"Q": value}
	return c
}

// specOf returns a service with an environment of the image "old". told is the URL of the
// queue that it was told of.
func specOf(env, told string) swarm.ServiceSpec {
	one := uint64(1)
	s := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "spider", Labels: map[string]string{}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "old", Env: strings.Fields(env)},
		},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &one}},
	}
	withInit(s.TaskTemplate.ContainerSpec)
	if told != "" {
		s.Labels[fleet.LabelQueue] = Queue{URL: told}.Mark()
	}
	return s
}

// TestTellQueue_OffThatIsUsed wants a definition that names a queue which is off to be
// refused with its place.
func TestTellQueue_OffThatIsUsed(t *testing.T) {
	t.Parallel()
	value := compose.QueuePlaceholder
	d := Deployment{Image: "i", Queue: &Queue{}, Definition: &compose.Service{
		Name:    "spider",
		File:    "/etc/crawlbox/crawlbox.yaml",
		Line:    3,
		Compose: composeOf(&value),
	}}
	s, err := New("spider")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(&s); err != nil {
		t.Fatal(err)
	}
	err = d.TellQueue(&s, nil)
	want := "/etc/crawlbox/crawlbox.yaml:3: services.spider.environment.Q: ${CRAWLBOX_QUEUE_URL} stands for the queue"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// TestTellQueue_Other wants a service that knows another right URL to keep it where nothing else of it changes, and to
// be told the one of now with the next change.
func TestTellQueue_Other(t *testing.T) {
	t.Parallel()
	at := Queue{URL: "redis://default:now@10.0.0.1:7891"}
	named := at.Local()
	named.Other = at.URL
	value := compose.QueuePlaceholder + "/0"
	defined := &compose.Service{Name: "spider", Compose: composeOf(&value)}
	for name, tc := range map[string]struct {
		d    Deployment
		want string
	}{
		"nothing else":   {Deployment{Image: "old", Queue: &named}, at.URL},
		"another image":  {Deployment{Image: "new", Queue: &named}, named.URL},
		"a restart":      {Deployment{Image: "old", Restart: true, Queue: &named}, named.URL},
		"a config file":  {Deployment{Image: "old", Definition: defined, Queue: &named}, named.URL},
		"it is the same": {Deployment{Image: "old", Queue: &at}, at.URL},
	} {
		s := specOf("REDIS_URL="+at.URL+" CRAWLBOX_QUEUE_URL="+at.URL, at.URL)
		before, err := PlainOf(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		if err := tc.d.TellQueue(&s, before); err != nil {
			t.Fatal(err)
		}
		after, err := PlainOf(s)
		if err != nil {
			t.Fatal(err)
		}
		c := s.TaskTemplate.ContainerSpec
		if !strings.Contains(strings.Join(c.Env, " "), "REDIS_URL="+tc.want) ||
			s.Labels[fleet.LabelQueue] != (Queue{URL: tc.want}).Mark() {
			t.Errorf("%s: the environment is %q, want %s", name, c.Env, tc.want)
		}
		if name == "nothing else" && (!before.SameTasks(after) || len(c.Hosts) > 0) {
			t.Errorf("%s: its tasks are replaced, with the hosts %q", name, c.Hosts)
		}
		if name != "a config file" {
			continue
		}
		again := s
		if err := tc.d.Apply(&again); err != nil {
			t.Fatal(err)
		}
		named, other := at, named.URL
		named.Other = other
		tc.d.Queue = &named // the node that has no front says so
		if err := tc.d.TellQueue(&again, after); err != nil {
			t.Fatal(err)
		}
		now, err := PlainOf(again)
		if err != nil || !after.SameTasks(now) {
			t.Errorf("%s: the tasks of the same definition are replaced: %+v, %v", name, now, err)
		}
	}
}

// TestTellQueue_ByName wants a service that is told of the queue by its name to have that among its hosts as its
// network wants it, what a person has for the name to stay, and nothing of it where the service is told an address.
func TestTellQueue_ByName(t *testing.T) {
	t.Parallel()
	at := Queue{URL: "rediss://default:now@10.0.0.1:7891"}
	named := at.Local()
	if named.URL != "rediss://default:now@queue.crawlbox.internal:7891" || named.Mark() == at.Mark() {
		t.Errorf("by name it is %s", named.URL)
	}
	const onHost, elsewhere = "127.0.0.1 queue.crawlbox.internal", "host-gateway queue.crawlbox.internal"
	for name, tc := range map[string]struct {
		hosts    string
		networks []swarm.NetworkAttachmentConfig
		d        Deployment
		want     string
	}{
		"on the host": {
			"", []swarm.NetworkAttachmentConfig{{Target: "host"}}, Deployment{Queue: &named}, onHost,
		},
		"on the host, by its ID": {"", nil, Deployment{Queue: &named, OnHost: true}, onHost},
		"on no network":          {"", nil, Deployment{Queue: &named}, elsewhere},
		"it was on the host":     {"10.0.0.9 a;" + onHost, nil, Deployment{Queue: &named}, "10.0.0.9 a;" + elsewhere},
		"a person's": {
			"10.0.0.9 b queue.crawlbox.internal", nil, Deployment{Queue: &named}, "10.0.0.9 b queue.crawlbox.internal",
		},
		"at an address": {"10.0.0.9 a;" + elsewhere, nil, Deployment{Queue: &at}, "10.0.0.9 a"},
	} {
		s := specOf("A=1", "")
		s.TaskTemplate.Networks = tc.networks
		if tc.hosts != "" {
			s.TaskTemplate.ContainerSpec.Hosts = strings.Split(tc.hosts, ";")
		}
		if err := tc.d.TellQueue(&s, nil); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.TaskTemplate.ContainerSpec.Hosts, ";"); got != tc.want {
			t.Errorf("%s: the hosts are %q, want %q", name, got, tc.want)
		}
	}
}
