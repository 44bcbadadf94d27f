package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// soakEnv says how long TestSoak lasts; `make soak` sets ten minutes.
const soakEnv = "CRAWLBOX_SOAK"

// soakMemory is the queue's bound, small enough to be reached again and again.
const soakMemory = 128 << 20

// TestSoak kills, stops, fills and confuses the queue's process, and measures from
// another host what must not notice: the registry, the port that nodes join at, the
// local API.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := 20 * time.Second
	if d, err := time.ParseDuration(os.Getenv(soakEnv)); err == nil {
		lasts = d
	}
	c := newCluster(t, fmt.Sprintf("queue:\n  password: %s\n  max_memory: %dB\n", password, soakMemory), 0)
	s := &soak{cluster: c, host: c.lab.AddHost(lab.WithoutDocker())}
	c.push("localhost:8003/soak:1")
	first := c.queueProcess()

	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { s.attack(ctx, s.kill, s.starve, s.fill, s.burden) })
	all.Go(func() { s.attack(ctx, s.garbage, s.garbageInside) })
	for _, m := range s.measures() {
		all.Go(func() { m.run(ctx) })
		defer m.report(t)
	}
	all.Wait()

	select {
	case <-c.agents[c.manager].Done():
		t.Fatal("the manager has ended")
	default:
	}
	lab.WaitFor(t, patience, "the queue to serve",
		func() error { return s.client().Set(t.Context(), "k", "v", 0).Err() })
	if now := c.queueProcess(); now == first {
		t.Error("the queue's process was never started again: nothing was shown")
	}
	var st api.Status
	c.read(&st, "status")
	if s.kills.Load() == 0 || s.stops.Load() == 0 || s.fills.Load() == 0 || s.full.Load() == 0 {
		t.Error("an attack was never made")
	}
	t.Logf("the queue's process was started again %d times; attacks: %d kills, %d stops, %d fills, %d refused for "+
		"memory, %d of garbage",
		st.Queue.Restarts, s.kills.Load(), s.stops.Load(), s.fills.Load(), s.full.Load(), s.trash.Load())
}

// soak is what TestSoak does to the queue.
type soak struct {
	*cluster
	host                             *lab.Host // another, of which the attacks come
	kills, stops, fills, full, trash atomic.Int64
}

// attack does one thing after the other until ctx ends. What they get for it is not
// looked at.
func (s *soak) attack(ctx context.Context, deeds ...func(context.Context)) {
	for i := 0; ctx.Err() == nil; i++ {
		deeds[i%len(deeds)](ctx)
		rest(ctx, time.Second/2)
	}
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *soak) client() *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:            s.queueAddr(),
		Password:        password,
		Dialer:          s.host.DialContext,
		DisableIdentity: true,
		MaxRetries:      -1,
		ReadTimeout:     5 * time.Second,
	})
	s.Cleanup(func() { c.Close() })
	return c
}

// signal sends a signal to the queue's process, once there is one.
func (s *soak) signal(ctx context.Context, name string) bool {
	pid := s.queueProcess()
	for ; pid == "" && ctx.Err() == nil; pid = s.queueProcess() {
		rest(ctx, time.Second/5)
	}
	return pid != "" && s.manager.Exec(ctx, "kill", "-"+name, pid).Code == 0
}

func (s *soak) kill(ctx context.Context) {
	if s.signal(ctx, "KILL") {
		s.kills.Add(1)
	}
}

// starve lets it say nothing for a while, and go on.
func (s *soak) starve(ctx context.Context) {
	if s.signal(ctx, "STOP") {
		s.stops.Add(1)
	}
	rest(ctx, 2*time.Second)
	s.signal(context.WithoutCancel(ctx), "CONT")
}

// fill pushes half as much again as the queue may have, and takes it away.
func (s *soak) fill(ctx context.Context) {
	s.fills.Add(1)
	c, item := s.client(), strings.Repeat("x", 1<<20)
	for range soakMemory / len(item) * 3 / 2 {
		err := c.RPush(ctx, "filled", item).Err()
		if err != nil && strings.HasPrefix(err.Error(), "OOM") {
			s.full.Add(1)
		}
		if err != nil {
			break
		}
	}
	c.FlushAll(ctx)
}

// burden has it sort and list large keys for several clients at once.
func (s *soak) burden(ctx context.Context) {
	c := s.client()
	_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 20_000 {
			p.ZAdd(ctx, "large", redis.Z{Score: float64(i * 7919 % 20_000), Member: i})
		}
		return nil
	})
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			c := s.client()
			for range 20 {
				c.ZRange(ctx, "large", 0, -1)
			}
		})
	}
	group.Wait()
}

// garbage is sent by who does not have the password.
func (s *soak) garbage(ctx context.Context) { s.throw(ctx, "") }

// garbageInside is sent by who has.
func (s *soak) garbageInside(ctx context.Context) { s.throw(ctx, "AUTH "+password+"\r\n") }

func (s *soak) throw(ctx context.Context, first string) {
	for range 20 {
		conn, err := s.host.DialContext(ctx, "tcp", s.queueAddr())
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.WriteString(conn, first+garbageStarts[s.trash.Add(1)%int64(len(garbageStarts))])
		_, _ = io.CopyN(conn, rand.Reader, 4<<10)
		conn.Close()
	}
}

var garbageStarts = []string{
	"", "*1\r\n$", "*2147483647\r\n", "*-1\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n", "*1\r\n$-5\r\n",
	"\x16\x03\x01\x02\x00", "GET / HTTP/1.1\r\n\r\n",
	"MULTI\r\nBLPOP k k k k 0\r\nEXEC\r\n", "SETRANGE k 200000000000 x\r\n", "SETBIT k 4000000000000 1\r\n",
	"SETRANGE k 9000000000000000000 x\r\n", "EVAL \"while true do end\" 0\r\n",
	"EVAL \"local t={} t[1]=t return t\" 0\r\n",
}

// measure is one thing that must go on.
type measure struct {
	name  string
	pause time.Duration
	try   func(context.Context) error

	took   []time.Duration
	failed []string
}

func (s *soak) measures() []*measure {
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.host.DialContext(ctx, network, addr)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it is about the answer
		DisableKeepAlives: true,
	}}
	get := func(url string, want int) func(context.Context) error {
		return func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := web.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != want {
				return fmt.Errorf("%s answers %s", url, resp.Status)
			}
			return nil
		}
	}
	return []*measure{
		{
			name:  "registry",
			pause: 200 * time.Millisecond,
			try:   get("https://"+s.manager.At(8003)+"/v2/", http.StatusUnauthorized),
		},
		{
			name:  "join port",
			pause: 200 * time.Millisecond,
			try:   get("https://"+s.manager.At(7980)+bootstrap.PathCA, http.StatusOK),
		},
		{
			name:  "local API",
			pause: time.Second,
			try:   func(ctx context.Context) error { return s.manager.Exec(ctx, "crawlbox", "status").Err() },
		},
		{name: "pull", pause: 2 * time.Second, try: s.pull},
	}
}

func (s *soak) pull(ctx context.Context) error {
	const ref = "localhost:8003/soak:1"
	s.manager.Exec(ctx, "docker", "image", "rm", ref)
	return s.manager.Exec(ctx, "docker", "pull", "--quiet", ref).Err()
}

func (m *measure) run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := m.try(ctx)
		if ctx.Err() != nil {
			return // cut off by the end of the test
		}
		m.took = append(m.took, time.Since(begun))
		if err != nil {
			m.failed = append(m.failed, err.Error())
		}
		rest(ctx, m.pause)
	}
}

func (m *measure) report(t *testing.T) {
	if len(m.took) == 0 {
		t.Errorf("%s was never asked", m.name)
		return
	}
	slices.Sort(m.took)
	at := func(share float64) time.Duration {
		return m.took[int(share*float64(len(m.took)-1))].Round(time.Millisecond)
	}
	t.Logf("%-10s %5s asked, %d failed, median %s, 99%% within %s, slowest %s", m.name, strconv.Itoa(len(m.took)),
		len(m.failed), at(.5), at(.99), at(1))
	for _, why := range m.failed[:min(5, len(m.failed))] {
		t.Errorf("%s: %s", m.name, why)
	}
}
