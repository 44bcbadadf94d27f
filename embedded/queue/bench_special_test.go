package queue

import (
	"errors"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// handoffRate measures how many items a second go through eight clients that wait
// with BLPOP, one item at a time: 1/rate is the latency of a handoff.
func handoffRate(server redisServer, _, _ int) (float64, error) {
	start := time.Now()
	deadline := start.Add(roundMax)
	got := make(chan struct{}, 1)
	var group sync.WaitGroup
	var waiters []*rawClient
	defer func() {
		for _, c := range waiters {
			c.Close()
		}
		group.Wait()
	}()
	for range 8 {
		c, err := dialServer(server, 2)
		if err != nil {
			return 0, err
		}
		waiters = append(waiters, c)
		c.SetDeadline(deadline)
		group.Go(func() {
			for {
				if _, err := c.Write(respRequest("BLPOP", "jobs", "0")); err != nil || skipReply(c.in) != nil {
					return
				}
				got <- struct{}{}
			}
		})
	}
	done := 0
	err := withLoader(server, deadline, func(l *loader) error {
		for start = time.Now(); time.Since(start) < roundTime; done++ {
			l.out = appendRequest(l.out[:0], "RPUSH", "jobs", "x")
			if err := l.exchange(1); err != nil {
				return err
			}
			select {
			case <-got:
			case <-time.After(time.Until(deadline)):
				return errors.New("an item reached nobody")
			}
		}
		return nil
	})
	return float64(done) / time.Since(start).Seconds(), err
}

// publishRate measures messages a second that reach all of ten subscribers.
func publishRate(server redisServer, _, _ int) (float64, error) {
	deadline := time.Now().Add(roundMax)
	const total, depth, subscribers = 40_000, 16, 10
	var group sync.WaitGroup
	errs := make([]error, subscribers)
	for i := range subscribers {
		c, err := dialServer(server, 2)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		c.SetDeadline(deadline)
		if reply, err := c.do("SUBSCRIBE", "news"); err != nil || reply.isError() {
			return 0, errors.Join(err, errors.New(reply.text))
		}
		c.SetDeadline(deadline)
		group.Go(func() { errs[i] = skipReplies(c.in, total) })
	}
	start := time.Now()
	err := withLoader(server, deadline, func(l *loader) error {
		for range total / depth {
			l.out = l.out[:0]
			for range depth {
				l.out = appendRequest(l.out, "PUBLISH", "news", "a message of some thirty bytes")
			}
			if err := l.exchange(depth); err != nil {
				return err
			}
		}
		return nil
	})
	group.Wait()
	return total / time.Since(start).Seconds(), firstError(append(errs, err))
}

// memoryRow is a large value of which each byte should cost few.
type memoryRow struct {
	name     string
	elements int
	fill     func(b []byte, from, to int) []byte
}

// payload100 returns a hundred bytes that differ.
func payload100(i int) string { return fingerprint(i) + strings.Repeat("x", 60) }

var memoryRows = []memoryRow{
	{"set-2,000,000", 2_000_000, fillMany([]string{"SADD", "k"},
		func(i int) []string { return []string{payload100(i)} })},
	{"list-1,000,000", 1_000_000, fillMany([]string{"RPUSH", "k"},
		func(i int) []string { return []string{payload100(i)} })},
	{"zset-1,000,000", 1_000_000, fillMany([]string{"ZADD", "k"},
		func(i int) []string { return []string{number(i), payload100(i)} })},
}

// reportMemory measures how much a process grows for each byte of payload.
func reportMemory(b *testing.B, row memoryRow) {
	debug.FreeOSMemory()
	var grown []float64
	both := contenders(b)
	for _, c := range both {
		before, err := rss(c.pid)
		c.note(b, err)
		c.note(b, loadRow{fill: row.fill}.fillUp(c.redisServer, row.elements))
		after, err := rss(c.pid)
		c.note(b, err)
		grown = append(grown, float64(after-before)/float64(100*row.elements))
	}
	b.ReportMetric(grown[1], "queue-B/B")
	b.ReportMetric(grown[0], "redis-B/B")
	b.ReportMetric(grown[1]/grown[0], "ratio")
	b.ReportMetric(0, "ns/op")
}
