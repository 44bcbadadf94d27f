package queue

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	embedded "github.com/crawlbox/crawlbox/embedded/queue"
)

// TestEverywhere wants services to be told the name once all nodes that are up have a front, those without a crawlbox
// or with one of a version before among them.
func TestEverywhere(t *testing.T) {
	t.Parallel()
	member := func(swarm, queue string, state gossip.State) gossip.Member {
		return gossip.Member{Node: gossip.Node{Swarm: swarm, Queue: queue}, State: state}
	}
	node := func(id, state string) fleet.Node { return fleet.Node{ID: id, State: state} }
	down := func(id, state string) fleet.Node { return fleet.Node{ID: id, State: state, Down: true} }
	for name, tc := range map[string]struct {
		nodes   []fleet.Node
		members []gossip.Member
		want    bool
	}{
		"all have one": {
			[]fleet.Node{node("a", fleet.StateReady), node("b", fleet.StateUnknown)},
			[]gossip.Member{member("a", gossip.QueueHere, gossip.Alive), member("b", gossip.QueueHere, gossip.Alive)},
			true,
		},
		"one of a version before": {
			[]fleet.Node{node("a", fleet.StateReady), node("b", fleet.StateReady)},
			[]gossip.Member{member("a", gossip.QueueHere, gossip.Alive), member("b", "", gossip.Alive)},
			false,
		},
		"one whose port is taken": {
			[]fleet.Node{node("a", fleet.StateReady)},
			[]gossip.Member{member("a", gossip.QueueAway, gossip.Alive)},
			false,
		},
		"one without crawlbox": {[]fleet.Node{node("a", fleet.StateReady)}, nil, false},
		"one whose crawlbox has left": {
			[]fleet.Node{node("a", fleet.StateReady)},
			[]gossip.Member{member("a", gossip.QueueHere, gossip.Left)},
			false,
		},
		"one that is down":                   {[]fleet.Node{down("a", fleet.StateDown)}, nil, true},
		"a manager that is down":             {[]fleet.Node{down("a", fleet.StateUnreachable)}, nil, true},
		"one that managers alone do not see": {[]fleet.Node{node("a", fleet.StateUnreachable)}, nil, false},
		"one that joined again": {
			[]fleet.Node{node("a", fleet.StateReady)},
			[]gossip.Member{member("a", gossip.QueueHere, gossip.Alive), member("a", "", gossip.Left)},
			true,
		},
	} {
		nodes := func(context.Context) ([]fleet.Node, error) { return tc.nodes, nil }
		if got := everywhere(nodes, func() []gossip.Member { return tc.members }); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	unknown := func(context.Context) ([]fleet.Node, error) { return nil, errors.New("no quorum") }
	if everywhere(unknown, func() []gossip.Member { return nil }) {
		t.Error("where Swarm does not say which nodes there are, all have a front")
	}
}

// TestUpNodes: up are those that Swarm hears from, managers that the others do not reach among them.
func TestUpNodes(t *testing.T) {
	t.Parallel()
	u := upNodes{self: "me", members: func(n fleet.Node) []member.Member {
		return []member.Member{{ID: "cert-" + n.ID}}
	}}
	up := u.see([]fleet.Node{
		{ID: "a", Self: true, Display: "h1", State: fleet.StateReady},
		{ID: "b", State: fleet.StateDown, Down: true},
		{ID: "c", Display: "h3", State: fleet.StateUnreachable, Down: true},
		{ID: "d", State: fleet.StateUnreachable},
		{ID: "e", State: fleet.StateUnknown},
	})
	if want := []string{"cert-a", "cert-d", "cert-e", "me"}; !slices.Equal(up, want) {
		t.Errorf("up are %q, want %q", up, want)
	}
	if u.name("me") != "h1" || u.name("cert-c") != "h3" || u.name("other") != "other" {
		t.Errorf("they are called %q", u.names)
	}
}

// TestTell wants those services to know the queue that know it by either URL.
func TestTell(t *testing.T) {
	t.Parallel()
	at, all := servicespec.Queue{URL: "redis://default:x@10.0.0.1:7891"}, false
	told, marks := tell(func() servicespec.Queue { return at }, func() bool { return all })
	if told().URL != at.URL {
		t.Errorf("before all nodes have a front it is %s", told().URL)
	}
	all = true
	if told().URL != "redis://default:x@queue.crawlbox.internal:7891" {
		t.Errorf("then it is %s", told().URL)
	}
	if list := marks(); !slices.Equal(list, []string{at.Mark(), told().Mark()}) {
		t.Errorf("the marks are %q", list)
	}
	if at = (servicespec.Queue{}); told().URL != "" || marks()[0] != "" {
		t.Errorf("without a queue it is %q", told().URL)
	}
}

// kept is a document in memory.
type kept struct {
	data    []byte
	missing bool
}

func (k *kept) Load() ([]byte, error) {
	if k.missing {
		return nil, fs.ErrNotExist
	}
	return k.data, nil
}

func (k *kept) Update(_ string, fn func([]byte) ([]byte, error)) (err error) {
	k.data, err = fn(k.data)
	k.missing = false
	return err
}

// TestPublish wants what is published to be read as it is, that there is no queue to be said where one was before, and
// nothing to be written where none ever was.
func TestPublish(t *testing.T) {
	t.Parallel()
	doc := &kept{missing: true}
	if err := publish(doc, published{}); err != nil || !doc.missing {
		t.Errorf("without a queue there is %q, %v", doc.data, err)
	}
	all := published{URL: "redis://default:x@10.0.0.1:7891", Front: &front{
		Port:     7891,
		Password: "x",
		Engine:   queueproc.Engine{Addr: "10.0.0.1:7891", Password: "x", DB: 3, Front: true},
	}}
	if err := publish(doc, all); err != nil {
		t.Fatal(err)
	}
	if got := load(doc); got.URL != all.URL || got.Front == nil || *got.Front != *all.Front {
		t.Errorf("it is read as %+v", got)
	}
	if err := publish(doc, published{}); err != nil || load(doc).URL != "" || load(doc).Front != nil {
		t.Errorf("a queue that is turned off is %q, %v", doc.data, err)
	}
}

// TestPublished_Hidden wants what is published to name its secrets as what shows documents of the state hides.
func TestPublished_Hidden(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(published{URL: "redis://default:hush@h:1", Front: &front{
		Port:     1,
		Password: "hush",
		Engine:   queueproc.Engine{Addr: "h:1", Password: "hush"},
		TLS:      &keyPair{Key: []byte("a key")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	shown, err := configs.HideSecrets(v)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(shown)
	key := base64.StdEncoding.EncodeToString([]byte("a key"))
	if strings.Contains(text, "hush") || strings.Contains(text, key) || !strings.Contains(text, "h:1") {
		t.Errorf("shown is %s", text)
	}
}

// TestParse refuses what no front can be made of, and takes what a version before has written.
func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                               true,
		"{}":                             true,
		`{"url":"redis://:x@h:7891"}`:    true,
		`{"url":"u","front":{"port":1}}`: false,
		`{"url":"u","front":{"port":1,"password":"x","engine":{"addr":"nowhere"}}}`:     false,
		`{"url":"u","front":{"port":0,"password":"x","engine":{"addr":"10.0.0.1:1"}}}`:  false,
		`{"url":"u","front":{"port":-1,"password":"x","engine":{"addr":"10.0.0.1:1"}}}`: false,
		`{"url":"","front":{"port":1,"password":"x","engine":{"addr":"10.0.0.1:1"}}}`:   false,
		`{"url":"u","front":{"port":1,"password":"x","engine":{"addr":"10.0.0.1:1"}}}`:  true,
		`[]`: false,
	} {
		if p, err := parse([]byte(text)); (err == nil) != want || err != nil && p.Front != nil {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	whole, _ := json.Marshal(published{URL: "u", Front: &front{Port: 1, Password: "x"}})
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := parse(data); err == nil && p.Front != nil && (p.Front.Port == 0 || p.Front.Password == "") {
			t.Errorf("%q is taken", data)
		}
	})
}

// TestReached wants managers to read a queue by their own front where that gets to the items by itself, and else at its
// home.
func TestReached(t *testing.T) {
	t.Parallel()
	doc := &kept{}
	p := published{URL: "redis://default:x@10.0.0.1:7891", Front: &front{
		Port:     7891,
		Password: "x",
		Engine:   queueproc.Engine{Addr: "10.0.0.1:7891", Front: true},
	}}
	for _, want := range []struct {
		addr, ca string
		front    bool
		url      string
	}{
		{"10.0.0.1:7891", "", true, p.URL},
		{"10.0.0.2:7892", "", false, "redis://default:x@127.0.0.1:7891"},
		{"10.0.0.2:7892", "CA", false, "rediss://default:x@127.0.0.1:7891"},
	} {
		p.CA, p.Front.Engine.Addr, p.Front.Engine.Front = want.ca, want.addr, want.front
		if err := publish(doc, p); err != nil {
			t.Fatal(err)
		}
		if got := Reached(doc); got.URL != want.url || Apart(doc) == want.front {
			t.Errorf("it is reached at %s, apart %v", got.URL, Apart(doc))
		}
	}
	if Apart(&kept{missing: true}) {
		t.Error("no queue is apart from its home")
	}
}

// TestRow wants the status of other managers to say of a queue what that of its home does.
func TestRow(t *testing.T) {
	t.Parallel()
	is := queueproc.State{Serving: true, Progress: embedded.Progress{Keys: 3, Memory: 10, Bound: 20}}
	for _, engine := range []string{"", "redis://r:6379/0", "valkey"} {
		want := control.QueueRow(is, "10.0.0.1:7891", engine, "h1")
		p := published{URL: "redis://default:x@10.0.0.1:7891", Engine: engine, Front: &front{
			Engine: queueproc.Engine{Front: engine != configs.EngineValkey},
		}}
		if got := p.row(is, "h1"); got == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("of %q: %+v, want %+v", engine, got, want)
		}
	}
	if row := (published{}).row(is, "h1"); row != nil {
		t.Errorf("of none: %+v", row)
	}
}

// TestPortHere is where the front of a node listens, as that was told; nowhere where it can't be read.
func TestPortHere(t *testing.T) {
	t.Parallel()
	const front = `"front":{"port":7891,"password":"x","engine":{"addr":"10.0.0.1:1"}}}`
	for told, want := range map[string]struct {
		port    uint16
		secured bool
	}{
		"":                             {},
		"{}":                           {},
		"[]":                           {},
		`{"url":"u",` + front:          {7891, false},
		`{"url":"u","ca":"C",` + front: {7891, true},
	} {
		if port, secured := PortHere([]byte(told)); port != want.port || secured != want.secured {
			t.Errorf("%s: %d, %v", told, port, secured)
		}
	}
}

// TestNewer wants nodes to be told of the home that a manager has told it is one, as that will publish it, where that
// is newer than what is published.
func TestNewer(t *testing.T) {
	t.Parallel()
	told := func(number int, addr string, secured bool) published {
		at := net.JoinHostPort(addr, "7891")
		f := &front{Port: 7891, Password: "x", Engine: queueproc.Engine{
			Name:     "its home " + at,
			Addr:     at,
			Password: "x",
			Front:    true,
		}}
		if secured {
			f.Engine.Host, f.TLS = addr, &keyPair{Key: []byte("k")}
		}
		return published{URL: "redis://default:x@" + at, Front: f, Copied: true, Number: number}
	}
	off, uncopied := published{}, told(1, "10.0.0.1", false)
	uncopied.Copied = false
	for name, tc := range map[string]struct {
		has    published
		number int
		addr   string // of the home
		want   string // address that is told; empty: what is published
	}{
		"a newer home":            {told(1, "10.0.0.1", false), 2, "10.0.0.2", "10.0.0.2"},
		"with TLS":                {told(0, "10.0.0.1", true), 1, "10.0.0.2", "10.0.0.2"},
		"it has published":        {told(2, "10.0.0.2", false), 2, "10.0.0.2", ""},
		"it was moved":            {told(2, "10.0.0.3", false), 2, "10.0.0.2", ""},
		"the first":               {told(0, "10.0.0.1", false), 0, "10.0.0.1", ""},
		"none is known":           {told(1, "10.0.0.1", false), 0, "", ""},
		"the queue is off":        {off, 2, "10.0.0.2", ""},
		"nobody copies its items": {uncopied, 2, "10.0.0.2", ""},
	} {
		var addr netip.Addr
		if tc.addr != "" {
			addr = netip.MustParseAddr(tc.addr)
		}
		doc := &kept{}
		if err := publish(doc, tc.has); err != nil {
			t.Fatal(err)
		}
		data, _ := doc.Load()
		n := newer(doc, func() (int, netip.Addr) { return tc.number, addr })
		got, want := n.Tell(data), data
		if tc.want != "" {
			is := told(tc.has.Number, tc.want, tc.has.Front.TLS != nil)
			want, _ = json.Marshal(is)
		}
		if string(got) != string(want) {
			t.Errorf("%s: %s is told, want %s", name, got, want)
		}
		if home := n.Home(); (home.IsValid() && home.String() != tc.want) || home.IsValid() != (tc.want != "") {
			t.Errorf("%s: the home is %s, want %q", name, home, tc.want)
		}
	}
	n := newer(&kept{}, func() (int, netip.Addr) { return 3, netip.MustParseAddr("10.0.0.1") })
	if got := n.Tell([]byte("{")); string(got) != "{" {
		t.Errorf("of what can't be read %q is told", got)
	}
}
