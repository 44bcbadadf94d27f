package clients_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/keeper"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// consumer is what works through numbered items, and how it is to be told to the queue.
type consumer struct {
	safe   []string // keys
	window int
	slots  int // processes at once; 0: two
	// produce asks for items with the names item-0, item-1, …
	produce func(t *testing.T, k *killed, items int)
	// work returns a program that does them.
	work func(t *testing.T, k *killed, url *address) program
	// embedded says that crawlbox's own engine has the commands that it needs.
	embedded bool
	// long says that it is left to long runs: another one is much alike, or its own design keeps its items, and takes a
	// minute and more to notice that a consumer is gone.
	long bool
}

// address is where a consumer finds the queue.
type address struct{ host, port, password string }

func (a address) url() string {
	return "redis://:" + a.password + "@" + net.JoinHostPort(a.host, a.port) + "/0"
}

// killedEnv says how many items TestKilled has for each consumer, on each engine; without it there are few, some
// consumers are left to that, and each other one is on one engine. `make soak` sets 2,000.
const killedEnv = "CRAWLBOX_KILLED"

// TestKilled has unchanged programs work through numbered items while they are killed, asked to stop, connections to
// the engine are cut, it refuses writes, and front and keeper begin anew: none is lost, and no more come twice than
// were at hand.
func TestKilled(t *testing.T) {
	t.Parallel()
	items, long := 120, false
	if n, err := strconv.Atoi(os.Getenv(killedEnv)); err == nil {
		items, long = n, true
	}
	for name, c := range consumers {
		if c.long && !long {
			continue
		}
		engines := map[string]func(t *testing.T) front.Engine{"embedded": startOwn, "redis": startLeasing}
		for engine, start := range engines {
			if (engine == "embedded") != c.embedded && (!c.embedded || !long) {
				continue
			}
			t.Run(name+"/"+engine, func(t *testing.T) {
				t.Parallel()
				newKilled(t, c, start(t)).run(items)
			})
		}
	}
}

// killed is one test of TestKilled.
type killed struct {
	*testing.T
	consumer consumer
	rng      *mathrand.Rand
	engine   front.Engine // whose connections can be cut
	direct   *redis.Client
	password string
	port     string
	record   string // the file in which consumers say what they do

	mu    sync.Mutex
	conns map[net.Conn]struct{} // to the engine
	lives map[string]*life      // by the address that they were given
	stop  func()                // of front and keeper
	n     int                   // lives so far
	ends  int                   // of these, but for those that had nothing left to do
}

// life is a consumer from its start to its end. It has an address of its own for the queue, by which it is known.
type life struct {
	*process
	ended chan struct{}
	asked bool // to end; before it has
	clean bool // after ended
}

func newKilled(t *testing.T, c consumer, engine front.Engine) *killed {
	k := &killed{
		T:        t,
		consumer: c,
		rng:      mathrand.New(mathrand.NewPCG(testenv.Seed(t), 0)),
		engine:   engine,
		direct:   clientOf(t, engine),
		password: strings.ToLower(rand.Text()),
		record:   filepath.Join(t.TempDir(), "record"),
		conns:    map[net.Conn]struct{}{},
		lives:    map[string]*life{},
	}
	k.engine.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := engine.Dial(ctx)
		if err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.conns[conn] = struct{}{}
		}
		return conn, err
	}
	k.begin()
	t.Cleanup(func() { k.stop() })
	c.work(t, k, k.producer()) // fails here where something is missing
	return k
}

// begin starts front and keeper, at the port that they had before.
func (k *killed) begin() {
	k.Helper()
	log := slog.New(slog.NewTextHandler(k.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	rules := lease.Rules{Safe: k.consumer.safe, Window: k.consumer.window, MaxDeliveries: lease.MostDeliveries}
	keeps := keeper.New(keeper.Options{Rules: rules, Node: "n1", Engine: k.engine, Containers: k}, log)
	port := cmp.Or(k.port, "0") // nobody else writes it
	// The whole of 127.0.0.0/8 is the machine's own; whoever comes from elsewhere lacks the password.
	fronts, err := front.New(front.Options{
		Addr: net.JoinHostPort("0.0.0.0", port), Password: k.password, Engine: k.engine, Rewriter: keeps,
	}, log)
	if err != nil {
		k.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { keeps.Run(ctx) })
	group.Go(func() {
		if err := fronts.Run(ctx); err != nil {
			k.Errorf("the front: %v", err)
		}
	})
	k.stop = func() {
		cancel()
		group.Wait()
	}
	<-fronts.Ready()
	k.mu.Lock()
	defer k.mu.Unlock()
	_, k.port, _ = net.SplitHostPort(fronts.Addr())
}

func clientOf(t *testing.T, e front.Engine) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: e.Name, Password: e.Password, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// Who implements [keeper.Containers].
func (k *killed) Who(_ context.Context, client net.Conn, _ time.Time) (keeper.Container, error) {
	host, _, err := net.SplitHostPort(client.LocalAddr().String())
	if host == producer {
		host = ""
	}
	return keeper.Container{ID: host, Name: host}, err
}

// Ended implements [keeper.Containers].
func (k *killed) Ended(ctx context.Context, id string) (clean bool, err error) {
	k.mu.Lock()
	l := k.lives[id]
	k.mu.Unlock()
	select {
	case <-l.ended:
		return l.clean, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// producer is the address that who is no consumer is given.
const producer = "127.0.0.1"

func (k *killed) producer() *address { return &address{producer, k.port, k.password} }

// env is what programs are given.
func (k *killed) env(a *address) []string {
	here, err := filepath.Abs("testdata/killed")
	if err != nil {
		k.Fatal(err)
	}
	path := []string{here, filepath.Join(here, "../../../../../appliance/e2e/testdata/"+scrapyWheel)}
	return []string{"QUEUE_URL=" + a.url(), "RECORD=" + k.record, "PYTHONPATH=" + strings.Join(path, ":")}
}

const scrapyWheel = "scrapy_redis-0.9.1-py3-none-any.whl"

// live runs a consumer until it ends.
func (k *killed) live() *life {
	k.mu.Lock()
	k.n++
	at := &address{fmt.Sprintf("127.77.%d.%d", k.n/200, k.n%200+1), k.port, k.password}
	k.mu.Unlock()
	prog := k.consumer.work(k.T, k, at)
	prog.env = append(k.env(at), prog.env...)
	prog.alone = true
	l := &life{ended: make(chan struct{})}
	k.mu.Lock()
	k.lives[at.host] = l
	k.mu.Unlock()
	l.process = start(k.T, prog)
	return l
}

// run has items done.
func (k *killed) run(items int) {
	k.consumer.produce(k.T, k, items)
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	slots := make([]chan *life, max(2, k.consumer.slots))
	var group sync.WaitGroup
	for i := range slots {
		slots[i] = make(chan *life)
		group.Go(func() { k.slot(ctx, slots[i]) })
	}
	harms := map[string]int{}
	most := time.Duration(items)*time.Second/2 + 2*time.Minute
	for deadline := time.Now().Add(most); time.Now().Before(deadline); {
		_, before := k.seen()
		if len(before) == items {
			break
		}
		// The next harm comes when something was done after the last one.
		more := 1 + k.rng.IntN(max(2, items/8))
		for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
			if _, done := k.seen(); len(done) == items || len(done) >= len(before)+more {
				break
			}
		}
		harms[k.harm(slots)]++
	}
	cancel()
	group.Wait()
	k.judge(items, harms)
}

// slot has one consumer after the other run. Whoever wants to harm it gets it from theirs.
func (k *killed) slot(ctx context.Context, theirs chan<- *life) {
	for ctx.Err() == nil {
		l := k.live()
		for running := true; running; {
			select {
			case theirs <- l:
			case <-l.done:
				running = false
			case <-ctx.Done():
				l.kill()
				running = false
			}
		}
		k.mu.Lock()
		l.clean = l.err == nil && !l.asked // as crawlbox has it
		if !l.clean {
			k.ends++
		}
		k.mu.Unlock()
		close(l.ended)
		if l.err != nil {
			out, _ := l.output()
			k.Logf("%v: %.600s", l.err, tail(out))
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // as Swarm waits before it starts another
		}
	}
}

// harm does something to somebody.
func (k *killed) harm(slots []chan *life) string {
	n := k.rng.IntN(9)
	switch {
	case n < 5:
		l := <-slots[k.rng.IntN(len(slots))]
		if n < 3 {
			l.kill()
			return "killed"
		}
		k.mu.Lock()
		l.asked = true
		k.mu.Unlock()
		if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			k.Error(err)
		}
		select { // as Docker waits before it kills
		case <-l.done:
			return "asked to end"
		case <-time.After(3 * time.Second):
			l.kill()
			return "asked to end and killed"
		}
	case n < 7:
		k.mu.Lock()
		for conn := range k.conns {
			conn.Close()
		}
		clear(k.conns)
		k.mu.Unlock()
		return "connections cut"
	case n == 7 && k.direct.ConfigSet(k.Context(), "min-replicas-to-write", "1").Err() == nil:
		time.Sleep(300 * time.Millisecond)
		if err := k.direct.ConfigSet(k.Context(), "min-replicas-to-write", "0").Err(); err != nil {
			k.Error(err)
		}
		return "writes refused for want of a replica"
	}
	k.stop()
	k.begin()
	return "front begun anew"
}

// seen returns how often each item was begun, and done.
func (k *killed) seen() (begun, done map[string]int) {
	text, err := os.ReadFile(k.record)
	if err != nil && !os.IsNotExist(err) {
		k.Fatal(err)
	}
	begun, done = map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(text)) {
		what, item, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "begun":
			begun[item]++
		case "done":
			done[item]++
		}
	}
	return begun, done
}

func (k *killed) judge(items int, harms map[string]int) {
	begun, done := k.seen()
	for i := range items {
		if name := "item-" + strconv.Itoa(i); done[name] == 0 {
			k.Errorf("%s was begun %d times and never done; it is in %q", name, begun[name], k.find(name))
		}
	}
	twice := 0
	for _, times := range begun {
		twice += times - 1
	}
	others := harms["connections cut"] + harms["front begun anew"] + harms["writes refused for want of a replica"]
	if most := k.consumer.window * (k.ends + others*max(2, k.consumer.slots)); twice > most {
		k.Errorf("%d items were handed out once more, at the most %d may be", twice, most)
	}
	k.Logf("%d items, %v: %d handed out once more", len(done), harms, twice)
}

// find returns the keys in which a name is.
func (k *killed) find(name string) (keys []string) {
	ctx := context.Background()
	for _, key := range k.direct.Keys(ctx, "*").Val() {
		all := append(k.direct.LRange(ctx, key, 0, -1).Val(), k.direct.ZRange(ctx, key, 0, -1).Val()...)
		all = append(all, k.direct.SMembers(ctx, key).Val()...)
		for field, value := range k.direct.HGetAll(ctx, key).Val() {
			all = append(all, field+" "+value)
		}
		if strings.Contains(strings.Join(all, "\n")+"\n", name) {
			keys = append(keys, key)
		}
	}
	return keys
}

func engineAt(addr, password string) front.Engine {
	return front.Engine{Name: addr, Password: password, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}}
}

// startLeasing starts a Redis as leases want it, or the Valkey that QUEUE_VALKEY names.
func startLeasing(t *testing.T) front.Engine {
	t.Helper()
	name := "redis-server"
	if named := os.Getenv("QUEUE_VALKEY"); named != "" {
		name = named
	}
	s := startProgram(t, name, "--notify-keyspace-events", "Kglsz")
	return engineAt(s.addr(), password)
}

func startOwn(t *testing.T) front.Engine {
	t.Helper()
	return engineAt(startQueue(t).addr(), password)
}
