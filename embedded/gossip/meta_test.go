package gossip

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

var fullNode = Node{
	ID: strings.Repeat("i", maxField), Swarm: strings.Repeat("s", maxField), Name: strings.Repeat("n", maxField),
	Role: strings.Repeat("r", maxField), Version: strings.Repeat("v", maxField), Docker: strings.Repeat("d", maxField),
	FreeDisk: 1<<63 - 1,
}

func TestMeta_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []Node{fullNode, {ID: "only"}, {ID: "a", Name: "büro-1", FreeDisk: 5}} {
		buf, err := encodeMeta(n, 42)
		if err != nil {
			t.Fatal(err)
		}
		if len(buf) > memberlist.MetaMaxSize {
			t.Errorf("%d bytes are more than memberlist takes", len(buf))
		}
		got, boot, err := decodeMeta(buf)
		if err != nil || got != n || boot != 42 {
			t.Errorf("got %+v, %d, %v; want %+v", got, boot, err, n)
		}
	}
}

func TestMeta_Decode(t *testing.T) {
	t.Parallel()
	id := "\x01\x01a"
	tests := map[string]struct {
		in string
		ok bool
	}{
		"smallest":            {"\x01" + id, true},
		"field of the future": {"\x01" + id + "\xc8\x02hi", true},
		"empty":               {"", false},
		"version":             {"\x02" + id, false},
		"no ID":               {"\x01\x03\x01a", false},
		"cut in the head":     {"\x01" + id + "\x03", false},
		"cut in the value":    {"\x01" + id + "\x03\x05ab", false},
		"twice":               {"\x01" + id + id, false},
		"out of order":        {"\x01\x03\x01n" + id, false},
		"empty text":          {"\x01" + id + "\x03\x00", false},
		"long text":           {"\x01" + id + "\x03\x41" + strings.Repeat("x", 65), false},
		"escape sequence":     {"\x01" + id + "\x03\x02\x1b[", false},
		"not UTF-8":           {"\x01" + id + "\x03\x01\xff", false},
		"short number":        {"\x01" + id + "\x07\x01\x01", false},
		"negative number":     {"\x01" + id + "\x07\x08\xff\xff\xff\xff\xff\xff\xff\xff", false},
		"too long": {"\x01" + id + "\xc8\xff" + strings.Repeat("x", 255) + "\xc9\xff" + strings.Repeat("x",
			255), false},
	}
	for name, tt := range tests {
		if _, _, err := decodeMeta([]byte(tt.in)); (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want ok %v", name, err, tt.ok)
		}
	}
}

func TestMaterial(t *testing.T) {
	t.Parallel()
	base := Node{ID: "a", Docker: "running", FreeDisk: 100 << 30}
	tests := map[string]struct {
		change func(*Node)
		want   bool
	}{
		"nothing":             {func(*Node) {}, false},
		"docker":              {func(n *Node) { n.Docker = "stopped" }, true},
		"a little disk":       {func(n *Node) { n.FreeDisk -= 1 << 30 }, false},
		"a twentieth of disk": {func(n *Node) { n.FreeDisk -= 5 << 30 }, true},
		"more free disk":      {func(n *Node) { n.FreeDisk += 5 << 30 }, true},
	}
	for name, tt := range tests {
		now := base
		tt.change(&now)
		if got := material(base, now); got != tt.want {
			t.Errorf("%s: material is %v, want %v", name, got, tt.want)
		}
	}
	if material(Node{FreeDisk: 1 << 20}, Node{FreeDisk: 2 << 20}) {
		t.Error("a megabyte on a full disk is told to everybody")
	}
}

func TestRoster_FarewellOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	r := newRoster("self", 1, anywhere, slog.New(slog.DiscardHandler))
	meta, err := encodeMeta(Node{ID: "a"}, 200)
	if err != nil {
		t.Fatal(err)
	}
	n := &memberlist.Node{Name: "a", Meta: meta}
	r.NotifyJoin(n)
	if r.farewell("a", 100) || r.farewell("unknown", 200) {
		t.Error("farewell of nobody who lives is news")
	}
	r.NotifyLeave(n)
	if got := r.members()[0].State; got != Failed {
		t.Errorf("state is %s, want failed", got)
	}
	if !r.farewell("a", 200) || r.members()[0].State != Left {
		t.Error("farewell after the failure was not taken")
	}
	if r.farewell("a", 200) {
		t.Error("farewell is news twice")
	}
	r.entries["a"].Seen = time.Now().Add(-keepGone - time.Second)
	if len(r.members()) != 0 {
		t.Error("known for more than a day")
	}
}

func TestRoster_RefusesFalseNames(t *testing.T) {
	t.Parallel()
	r := newRoster("self", 1, anywhere, slog.New(slog.DiscardHandler))
	meta, err := encodeMeta(Node{ID: "a"}, 200)
	if err != nil {
		t.Fatal(err)
	}
	if r.NotifyAlive(&memberlist.Node{Name: "a", Meta: meta}) != nil {
		t.Error("true name refused")
	}
	if r.NotifyAlive(&memberlist.Node{Name: "b", Meta: meta}) == nil {
		t.Error("false name taken")
	}
}

// TestLog_OncePerSource: a node that was removed and goes on is warned of once, and others too.
func TestLog_OncePerSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := log.New(newLogWriter(slog.New(slog.NewTextHandler(&out, nil))), "", 0)
		for range 100 {
			l.Print("[ERR] memberlist: Decrypt packet failed: no key from=10.99.0.3:7981")
			l.Print("[ERR] memberlist: failed to receive: no key from=10.99.0.3:47275")
			time.Sleep(time.Minute)
		}
		l.Print("[ERR] memberlist: failed to receive: no key from=[fd00::1]:47275")
		if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 ||
			!strings.Contains(lines[0], "from=10.99.0.3:7981") || !strings.Contains(lines[1], "from=[fd00::1]:47275") {
			t.Errorf("got %s", &out)
		}
	})
}

func TestLog_MapsLevelsAndLimits(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := log.New(newLogWriter(slog.New(slog.NewTextHandler(&out, nil))), "", 0)
	l.Print("[DEBUG] memberlist: Stream connection")
	l.Print("[WARN] memberlist: Refuting a suspect message")
	if out.Len() > 0 {
		t.Errorf("noise: %s", &out)
	}
	for range 1000 {
		l.Print("[ERR] memberlist: Decrypt packet failed")
	}
	lines := strings.Count(out.String(), "\n")
	if lines == 0 || lines > 10 || !strings.Contains(out.String(), `level=WARN msg="gossip: Decrypt packet failed"`) {
		t.Errorf("%d lines: %s", lines, &out)
	}
}
