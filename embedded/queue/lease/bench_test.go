package lease_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// What a benchmark does.
const (
	benchPops    = 240_000 // items popped in one round
	benchClients = 20
	benchDepth   = 16 // pops that a pipelining client sends at once
)

// BenchmarkLease measures pops a second with leases beside those without, in turn, on the
// embedded engine and on each Redis and Valkey of this machine: by clients that wait for each
// reply, by clients that pipeline, and by ones whose pops in a row are done at once, as
// [lease.Pop.Times] says.
//
//	QUEUE_VALKEY=… go test -bench Lease -benchtime 1x ./embedded/queue/lease
func BenchmarkLease(b *testing.B) {
	servers := map[string]func(testing.TB) *overTCP{"embedded": startEmbedded}
	for name, program := range programs(b) {
		servers[name] = func(t testing.TB) *overTCP { return startProgram(t, program) }
	}
	for name, start := range servers {
		for _, shape := range []struct {
			name   string
			depth  int
			atOnce bool
		}{{"waiting", 1, false}, {"pipelined", benchDepth, false}, {"merged", benchDepth, true}} {
			b.Run(name+"/"+shape.name, func(b *testing.B) {
				s := start(b)
				for b.Loop() {
					var off, on float64
					for range 3 {
						off = max(off, popRate(b, s, shape.depth, false, false))
						on = max(on, popRate(b, s, shape.depth, true, shape.atOnce))
					}
					b.ReportMetric(off, "off/s")
					b.ReportMetric(on, "on/s")
					b.ReportMetric(on/off, "ratio")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}

// popRate fills a queue, empties it and returns pops a second.
func popRate(b *testing.B, s *overTCP, depth int, leased, atOnce bool) float64 {
	b.Helper()
	c := s.open(b, 0, 2).(*tcpConn)
	c.do("FLUSHALL")
	for i := 0; i < benchPops; i += 1000 {
		args := []string{"RPUSH", "jobs:a"}
		for n := range 1000 {
			args = append(args, "https://example.com/some/page/"+strconv.Itoa(i+n))
		}
		c.do(args...)
	}
	clients := make([]*tcpConn, benchClients)
	for i := range clients {
		clients[i] = s.open(b, 0, 2).(*tcpConn)
	}
	if err := lease.Load(b.Context(), doOf(c)); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var group sync.WaitGroup
	for i, client := range clients {
		group.Go(func() {
			about := lease.About{Node: "n1", Name: "spider.1"}
			me := lease.NewHolder(fmt.Sprintf("%064d", i), "c"+strconv.Itoa(i), about)
			if err := client.popAll(me, benchPops/benchClients/depth, depth, leased, atOnce); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	rate := benchPops / time.Since(began).Seconds()
	if left := c.do("LLEN", "jobs:a"); left != ":0\r\n" {
		b.Errorf("%q items are left", left)
	}
	for _, client := range append(clients, c) {
		client.Close()
	}
	return rate
}

// popAll pops a number of times, depth items each time.
func (c *tcpConn) popAll(me lease.Holder, times, depth int, leased, atOnce bool) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	plain := request([]string{"LPOP", "jobs:a"})
	var out []byte
	for range times {
		out = out[:0]
		replies := depth
		switch {
		case atOnce:
			p := testRules.Rewrite([]string{"LPOP", "jobs:a"}, false, false, me, time.Now())
			out, replies = appendRequest(out, p.Times(depth)), 1
		case leased:
			for range depth {
				p := testRules.Rewrite([]string{"LPOP", "jobs:a"}, false, false, me, time.Now())
				out = appendRequest(out, p.Args)
			}
		default:
			for range depth {
				out = append(out, plain...)
			}
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		for range replies {
			reply, err := readReply(c.in)
			if err != nil {
				return err
			}
			if strings.HasPrefix(reply, "-") || strings.HasPrefix(reply, "$-1") {
				return fmt.Errorf("a pop: %q", reply)
			}
		}
	}
	return nil
}
