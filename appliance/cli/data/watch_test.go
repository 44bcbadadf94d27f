package data

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// seen is what a watch shows of keys of all kinds, with counts or without.
func seen(counted bool) view {
	w, held := &watch{}, int64(48)
	at := func(seconds int, keys ...api.KeyFlow) {
		w.see(api.QueueFlow{At: clitest.Now.Add(time.Duration(seconds) * time.Second), Keys: keys, Counted: counted})
	}
	at(0,
		api.KeyFlow{Key: "example:swarm:spider", Type: "list", Len: 12_000, In: 7},
		api.KeyFlow{Key: "quotes:requests", Type: "zset", Len: 900},
		api.KeyFlow{Key: "quotes:dupefilter", Type: "set", Len: 4_000_000},
		api.KeyFlow{Key: "emptied", Type: "list", Len: 3},
		api.KeyFlow{Key: "still", Type: "hash", Len: 5})
	at(2,
		api.KeyFlow{Key: "example:swarm:spider", Type: "list", Len: 11_900, In: 27, Out: 120, InFlight: &held},
		api.KeyFlow{Key: "quotes:requests", Type: "zset", Len: 950, In: 150, Out: 100},
		api.KeyFlow{Key: "quotes:dupefilter", Type: "set", Len: 3_999_999, Out: 1},
		api.KeyFlow{Key: "emptied", Out: 3},
		api.KeyFlow{Key: "still", Type: "hash", Len: 5},
		api.KeyFlow{Key: "new", Type: "list", Len: 1})
	return view{Rows: w.rows(w.last), More: 9_980, Counted: counted}
}

func rowOf(rows []row, key string) row {
	for _, r := range rows {
		if r.Key == key {
			return r
		}
	}
	return row{}
}

// TestWatch_Rates follows a key from 100 items a second to none, whether or not the queue counts.
func TestWatch_Rates(t *testing.T) {
	t.Parallel()
	w := &watch{}
	now, is := clitest.Now, api.KeyFlow{Key: "urls", Type: "list", Len: 10_000}
	see := func(counted bool) row {
		w.see(api.QueueFlow{At: now, Keys: []api.KeyFlow{is}, Counted: counted})
		return w.rows(now)[0]
	}
	if r := see(true); r.Net != nil || r.In != nil || r.Left != nil {
		t.Errorf("after one look it knows %+v", r)
	}
	var r row
	step := func(in, out int64, counted bool) {
		now = now.Add(time.Second)
		is.In, is.Out, is.Len = is.In+in, is.Out+out, is.Len+in-out
		r = see(counted)
	}
	for range 5 {
		step(50, 150, true)
	}
	if *r.In != 50 || *r.Out != 150 || *r.Net != -100 || *r.Left != 95 {
		t.Errorf("it is %v in, %v out, %v, empty in %v", *r.In, *r.Out, *r.Net, *r.Left)
	}
	step(0, 0, true)
	if *r.In < 40 || *r.In > 49 || *r.Left < 95 {
		t.Errorf("after a pause of a second it is %v in, empty in %v", *r.In, *r.Left)
	}
	is.In, is.Out = 0, 0 // it counts anew
	before := *r.In
	step(0, 0, true)
	if *r.In != before {
		t.Errorf("as it counts anew it is %v in, before %v", *r.In, before)
	}
	for range 100 {
		step(0, 0, true)
	}
	if *r.In != 0 || *r.Out != 0 || *r.Net != 0 || r.Left != nil {
		t.Errorf("after a long pause it is %+v", r)
	}
	step(0, 100, false)
	if r.In != nil || r.Out != nil || *r.Net >= -5 || *r.Net < -15 {
		t.Errorf("where nobody counts it is %v in, %v", r.In, *r.Net)
	}
	see(true) // at the same moment
	if math.IsNaN(*w.rows(now)[0].Net) {
		t.Error("there is no rate between two looks at the same moment")
	}
}

// TestWatch_Follows wants the keys that have most, those that something happens with though they have
// fewer, and between two looks at all of them only those asked for.
func TestWatch_Follows(t *testing.T) {
	t.Parallel()
	cluster := apitest.New(clitest.Now)
	socket, stop, err := clitest.Serve(cluster)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := cluster.QueuePush(t.Context(), "quotes:requests", make([]string, 10)); err != nil {
		t.Fatal(err)
	}
	w := &watch{client: api.NewClient(socket), most: 2}
	first, err := w.look(t.Context())
	if err != nil || len(first.Rows) != 2 || first.More != 1 || first.Rows[0].Key != "quotes:requests" {
		t.Fatalf("at first %+v, %v", first, err)
	}
	if _, err := cluster.QueuePush(t.Context(), "a", make([]string, 100)); err != nil {
		t.Fatal(err)
	}
	second, err := w.look(t.Context())
	if err != nil || len(second.Rows) != 2 || rowOf(second.Rows, "a").Key != "" {
		t.Errorf("then %+v, %v", second, err)
	}
	w.looked = w.looked.Add(-lookEvery)
	third, err := w.look(t.Context())
	if err != nil || len(third.Rows) != 3 || third.Rows[0].Key != "a" || third.More != 1 ||
		rowOf(third.Rows, "quotes:requests").Out == nil {
		t.Errorf("after a while %+v, %v", third, err)
	}
}

// TestWatch_JSON wants a line for each key and look.
func TestWatch_JSON(t *testing.T) {
	t.Parallel()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	r, out := io.Pipe()
	a := command.New(command.Env{Stdout: out, Stderr: out}, "")
	a.Socket = socket
	cmd := queueWatchCmd(a)
	cmd.SetArgs([]string{"quotes:requests", "robots", "--interval", "100ms", "--json"})
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(t.Context()) }()
	lines := bufio.NewScanner(r)
	var text strings.Builder
	for range 4 {
		if !lines.Scan() {
			t.Fatalf("it ends: %v", lines.Err())
		}
		text.WriteString(lines.Text() + "\n")
		var is row
		if err := json.Unmarshal(lines.Bytes(), &is); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"time":"2024-11-22T08:00:00Z","key":"quotes:requests","type":"zset","items":2}
{"time":"2024-11-22T08:00:00Z","key":"robots","type":"list","items":1}
{"time":"2024-11-22T08:00:01Z","key":"quotes:requests","type":"zset","items":1,"in":0,"out":1,"net":-1,"left_seconds":1}
{"time":"2024-11-22T08:00:01Z","key":"robots","type":"list","items":0,"in":0,"out":1,"net":-1}
`
	if text.String() != want {
		t.Errorf("it prints\n%s", text.String())
	}
	_ = r.Close() // who reads is gone
	if err := <-ended; err == nil {
		t.Error("it goes on though nobody reads")
	}
}
