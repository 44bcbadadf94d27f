package valkey

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"

	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// memory is a document in memory.
type memory struct {
	mu      sync.Mutex
	data    []byte
	changed chan struct{}
}

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

func (m *memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return nil, fs.ErrNotExist
	}
	return m.data, nil
}

func (m *memory) Update(_ string, fn func([]byte) ([]byte, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := fn(m.data)
	if err == nil {
		m.data = next
		close(m.changed)
		m.changed = make(chan struct{})
	}
	return err
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// local is the document as the guard on an engine's machine sees it, which reaches that beside what is cut.
type local struct {
	Store
	direct map[netip.AddrPort]netip.AddrPort
}

func (l local) Load() ([]byte, error) {
	d, err := Load(l.Store)
	if err != nil || d.Primary == 0 {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	return encoded(d, l.direct), nil
}

// proc is a Valkey, behind a cable that can be cut.
type proc struct {
	t      *testing.T
	conf   string
	keys   string
	dir    string
	direct netip.AddrPort
	cable  *cable
	cmd    *exec.Cmd
}

func serverProgram(t *testing.T) string {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.SkipOrFail(t, "redis-server is missing: run .ci/deps")
	return ""
}

func newProc(t *testing.T, d Document) *proc {
	p := &proc{t: t, dir: t.TempDir(), direct: testenv.FreeAddr(t)}
	p.conf = filepath.Join(p.dir, "valkey.conf")
	p.keys = filepath.Join(p.dir, "keys.pem")
	err := errors.Join(os.WriteFile(p.conf, []byte(Config(d.Password, 1<<30)), 0o600),
		os.WriteFile(p.keys, d.Keys.File(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	p.cable = newCable(t, p.direct)
	p.start()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *proc) start() {
	args := Engine{Addr: p.direct}.Args(p.dir, p.keys)
	p.cmd = exec.Command(serverProgram(p.t), append([]string{p.conf}, args...)...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proc) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *proc) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// tried returns what the program says, which is to end by itself.
func tried(t *testing.T, args ...string) string {
	said, _ := exec.CommandContext(t.Context(), serverProgram(t), args...).CombinedOutput()
	return string(said)
}

// cable passes TCP on, until it is cut: then nothing arrives, and no end of a connection does.
type cable struct {
	addr netip.AddrPort
	cut  atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

func newCable(t *testing.T, to netip.AddrPort) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	t.Cleanup(func() { l.Close(); c.reset() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.keep(near)
			if c.cut.Load() {
				continue
			}
			far, err := net.Dial("tcp", to.String())
			if err != nil {
				near.Close()
				continue
			}
			c.keep(far)
			go c.copy(near, far)
			go c.copy(far, near)
		}
	}()
	return c
}

func (c *cable) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
}

func (c *cable) copy(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if c.cut.Load() {
			return // the connections stay open, as far as anybody knows
		}
		if n > 0 {
			_, _ = to.Write(b[:n])
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// reset ends the connections that were, as when a cable is mended after a while.
func (c *cable) reset() {
	c.cut.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// lab is two engines and what is around them.
type lab struct {
	t      *testing.T
	store  *memory
	procs  map[netip.AddrPort]*proc // by the address of the document
	direct map[netip.AddrPort]netip.AddrPort

	mu       sync.Mutex
	managers []Manager
}

func (l *lab) Managers(context.Context) ([]Manager, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.managers), nil
}
func (l *lab) Image(_ context.Context, named string) (string, error) { return named + "@sha256:1", nil }
func (l *lab) Run(_ context.Context, _ Document) error               { return nil }

// leaderIs has another manager lead the swarm; none where it is empty.
func (l *lab) leaderIs(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.managers {
		l.managers[i].Leads = l.managers[i].Node == node
	}
}

const labPassword = "a-password-as-long-as-crawlbox-makes-them"

// newLab starts engines with guards, and two controllers that both think they lead.
func newLab(t *testing.T) *lab {
	l := &lab{t: t, store: newMemory(), procs: map[netip.AddrPort]*proc{}, direct: map[netip.AddrPort]netip.AddrPort{}}
	first := Document{Password: labPassword, Wanted: Wanted{"valkey", 7892, 1 << 30}}
	first, err := save(l.store, Document{}, first, "begin")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		p := newProc(t, first)
		l.procs[p.cable.addr], l.direct[p.cable.addr] = p, p.direct
		node := fmt.Sprintf("n%d", i+1)
		l.managers = append(l.managers, Manager{Engine{Node: node, Name: node, Addr: p.cable.addr}, false, true})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	for i := range 2 {
		node := l.managers[i].Node
		all.Go(func() { _ = New(l.store, l, log.With("leader", i)).Run(ctx) })
		g := Guard{Store: local{l.store, l.direct}, Own: func(e Engine) bool { return e.Node == node }, Log: log}
		all.Go(func() { _ = g.Run(ctx) })
	}
	l.inSync()
	return l
}

func (l *lab) document() Document {
	d, err := Load(l.store)
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

func (l *lab) tls() *tls.Config {
	c, err := l.document().Keys.config()
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// wait waits for a document.
func (l *lab) wait(what string, is func(Document) bool) Document {
	l.t.Helper()
	for deadline := time.After(time.Minute); ; {
		changed := l.store.Changed()
		if d := l.document(); is(d) {
			return d
		}
		select {
		case <-changed:
		case <-deadline:
			l.t.Fatalf("%s is awaited: %+v", what, l.document())
		}
	}
}

func (l *lab) inSync() Document {
	return l.wait("a replica in sync", func(d Document) bool { return d.InSync })
}

func (l *lab) primary() *proc {
	p, _ := l.document().primary()
	return l.procs[p.Addr]
}

// ack is a write that an engine has acknowledged.
type ack struct {
	n, epoch    int
	sent, heard time.Time
}

// write writes numbers one after the other, as a spider does through the front on a node: to the primary of the
// document. stubborn is one that does not go to another while the primary takes writes, as on a machine that is cut
// off and hears of nothing.
func (l *lab) write(ctx context.Context, key string, stubborn bool) (acks []ack) {
	n := 0
	for ctx.Err() == nil {
		changed := l.store.Changed()
		d := l.document()
		p, _ := d.primary()
		user, password := d.Front()
		c := redis.NewClient(&redis.Options{Addr: l.direct[p.Addr].String(), Username: user, Password: password,
			TLSConfig: l.tls(), MaxRetries: -1, ReadTimeout: 3 * time.Second, DialTimeout: time.Second, PoolSize: 1})
		of, cancel := context.WithCancel(ctx)
		if !stubborn {
			go func() {
				defer c.Close()
				for l.document().Epoch == d.Epoch && of.Err() == nil {
					select {
					case <-changed:
						changed = l.store.Changed()
					case <-of.Done():
					}
				}
			}()
		}
		for of.Err() == nil {
			n++
			sent := time.Now()
			if err := c.RPush(of, key, n).Err(); err != nil {
				time.Sleep(10 * time.Millisecond) // as a client does before it tries again
				break
			}
			acks = append(acks, ack{n, d.Epoch, sent, time.Now()})
		}
		cancel()
		c.Close()
	}
	return acks
}

// TestChaos loses the primary of a pair again and again, in all ways, while clients write. No write may be accepted by
// a primary whose epoch is over, and writes go on soon, without what was acknowledged in a second before at the most.
func TestChaos(t *testing.T) {
	t.Parallel()
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("VALKEY_ROUNDS")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	l := newLab(t)
	for i := range rounds {
		l.lose([]string{"killed", "stopped", "cut", "killed with its data"}[(i+random.IntN(2)*4)%4], random)
	}
}

// lose loses the primary in one way.
func (l *lab) lose(how string, random *rand.Rand) {
	before := l.inSync()
	p := l.primary()
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	const writers = 4
	all := make([][]ack, writers)
	var busy sync.WaitGroup
	for i := range writers {
		stubborn := how != "stopped" && i == 0
		busy.Go(func() { all[i] = l.write(ctx, fmt.Sprintf("w%d:%d", before.Epoch, i), stubborn) })
	}
	time.Sleep(time.Second + time.Duration(random.IntN(500))*time.Millisecond) // of writing
	lost := time.Now()
	switch how {
	case "killed":
		p.kill()
	case "killed with its data":
		p.kill()
		if err := os.RemoveAll(filepath.Join(p.dir, "appendonlydir")); err != nil {
			l.t.Fatal(err)
		}
		p.start()
	case "stopped":
		p.signal(syscall.SIGSTOP)
	case "cut":
		p.cable.cut.Store(true)
	}
	after := l.wait("another primary", func(d Document) bool { return d.Epoch > before.Epoch })
	now, _ := after.primary()
	c := redis.NewClient(&redis.Options{Addr: l.direct[now.Addr].String(), Password: labPassword, TLSConfig: l.tls(),
		MaxRetries: -1, ReadTimeout: 20 * time.Second})
	defer c.Close()
	for c.Set(ctx, "mark", after.Epoch, 0).Err() != nil {
		if time.Since(lost) > time.Minute {
			l.t.Fatal("nobody takes writes")
		}
		time.Sleep(50 * time.Millisecond)
	}
	again := time.Now()
	time.Sleep(time.Second) // of the new epoch, beside which the old one must not be
	switch how {
	case "killed":
		p.start()
	case "stopped":
		p.signal(syscall.SIGCONT)
	case "cut":
		p.cable.reset()
	}
	time.Sleep(time.Second)
	l.inSync()
	cancel()
	busy.Wait()
	l.judge(how, all, before.Epoch, lost, again)
}

func (l *lab) judge(how string, all [][]ack, epoch int, lost, again time.Time) {
	p, _ := l.document().primary()
	c := redis.NewClient(&redis.Options{Addr: l.direct[p.Addr].String(), Password: labPassword, TLSConfig: l.tls()})
	defer c.Close()
	begun := again
	for _, acks := range all {
		for _, a := range acks {
			if a.epoch > epoch && a.heard.Before(begun) {
				begun = a.heard
			}
		}
	}
	var firstLost time.Time
	total, gone, late := 0, 0, time.Duration(0)
	for i, acks := range all {
		items, err := c.LRange(context.Background(), fmt.Sprintf("w%d:%d", epoch, i), 0, -1).Result()
		if err != nil {
			l.t.Fatal(err)
		}
		has := map[string]bool{}
		for _, item := range items {
			has[item] = true
		}
		for _, a := range acks {
			total++
			if a.epoch <= epoch && a.sent.After(begun) {
				l.t.Errorf("%s: a write of epoch %d was accepted %s after epoch %d had begun", how, a.epoch,
					a.heard.Sub(begun), epoch+1)
				break
			}
			if !has[strconv.Itoa(a.n)] {
				gone++
				if firstLost.IsZero() || a.heard.Before(firstLost) {
					firstLost = a.heard
				}
				if a.heard.After(lost.Add(time.Second)) {
					late = max(late, a.heard.Sub(lost))
				}
			}
		}
	}
	if late > 0 {
		l.t.Errorf("%s: a write is lost that was acknowledged %s after the primary was", how, late)
	}
	if !firstLost.IsZero() && lost.Sub(firstLost) > time.Second {
		l.t.Errorf("%s: a write is lost that was acknowledged %s before the primary was", how, lost.Sub(firstLost))
	}
	took := again.Sub(lost).Round(time.Millisecond)
	l.t.Logf("%s: writes went on after %s, %d of %d were lost", how, took, gone, total)
	if took > 10*time.Second {
		l.t.Errorf("%s: writes went on after %s", how, took)
	}
}

// TestHandOver has the swarm's leader change to the primary's node while clients write.
func TestHandOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	before := l.document()
	p, _ := before.primary()
	ctx, cancel := context.WithCancel(t.Context())
	var acks []ack
	var busy sync.WaitGroup
	busy.Go(func() { acks = l.write(ctx, "w", false) })
	l.leaderIs(p.Node)
	after := l.wait("another primary", func(d Document) bool { return d.Epoch > before.Epoch })
	l.inSync()
	cancel()
	busy.Wait()
	now, _ := after.primary()
	c := redis.NewClient(&redis.Options{Addr: l.direct[now.Addr].String(), Password: labPassword, TLSConfig: l.tls()})
	defer c.Close()
	items, err := c.LRange(t.Context(), "w", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	longest, last := time.Duration(0), time.Time{}
	for _, a := range acks {
		if !slices.Contains(items, strconv.Itoa(a.n)) {
			t.Errorf("%d is lost", a.n)
		}
		if !last.IsZero() {
			longest = max(longest, a.heard.Sub(last))
		}
		last = a.heard
	}
	t.Logf("writes waited for %s", longest)
	if longest > 3*fenceTime || len(acks) == 0 {
		t.Errorf("writes waited for %s, %d were done", longest, len(acks))
	}
}

// TestMemory has the config give engines more memory while clients write.
func TestMemory(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	before := l.document()
	ctx, cancel := context.WithCancel(t.Context())
	var acks []ack
	var busy sync.WaitGroup
	busy.Go(func() { acks = l.write(ctx, "w", false) })
	more := before.Wanted
	more.Memory *= 2
	for Want(l.store, more) != nil { // a controller was faster
		continue
	}
	after := l.wait("engines with more memory", func(d Document) bool {
		short := func(e Engine) bool { return e.Memory != more.Memory }
		return d.InSync && !slices.ContainsFunc(d.Engines, short)
	})
	cancel()
	busy.Wait()
	now, _ := after.primary()
	if after.Epoch != before.Epoch+1 || now.Slot == before.Primary {
		t.Errorf("%+v came after %+v", after, before)
	}
	c := redis.NewClient(&redis.Options{Addr: l.direct[now.Addr].String(), Password: labPassword, TLSConfig: l.tls()})
	defer c.Close()
	items, err := c.LRange(t.Context(), "w", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range acks {
		if !slices.Contains(items, strconv.Itoa(a.n)) {
			t.Fatalf("%d of %d is lost", a.n, len(acks))
		}
	}
}

// TestReplicaLost takes the replica away, without which the primary goes on, and the same once it is alone.
func TestReplicaLost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, r := l.document().primary()
	replica := l.procs[r.Addr]
	ctx, cancel := context.WithCancel(t.Context())
	var acks []ack
	var busy sync.WaitGroup
	busy.Go(func() { acks = l.write(ctx, "w", false) })
	lost := time.Now()
	replica.kill()
	d := l.wait("a primary that goes on alone", func(d Document) bool { return !d.Fenced })
	p := l.procs[mustPrimary(d).Addr]
	c := redis.NewClient(&redis.Options{Addr: p.direct.String(), Password: labPassword, TLSConfig: l.tls()})
	defer c.Close()
	for c.Set(ctx, "mark", 1, 0).Err() != nil && time.Since(lost) < time.Minute {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("writes went on after %s", time.Since(lost))
	if took := time.Since(lost); took > 3*fenceTime {
		t.Errorf("writes went on after %s", took)
	}
	// Alone, nobody takes its place.
	p.kill()
	time.Sleep(3 * lostAfter)
	if now := l.document(); now.Epoch != d.Epoch {
		t.Errorf("%+v came after %+v", now, d)
	}
	p.start()
	replica.start()
	l.inSync()
	cancel()
	busy.Wait()
	items, err := c.LRange(t.Context(), "w", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range acks {
		if !slices.Contains(items, strconv.Itoa(a.n)) {
			t.Fatalf("%d is lost", a.n)
		}
	}
}

// TestCutJournal starts an engine whose journal ends in the middle of a write, as a power cut leaves it.
func TestCutJournal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	before := l.document()
	p := l.primary()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.write(ctx, "w", false)
	p.kill()
	after := l.wait("another primary", func(d Document) bool { return d.Epoch > before.Epoch })
	journals, err := filepath.Glob(filepath.Join(p.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(journals) == 0 {
		t.Fatalf("it has the journals %v, %v", journals, err)
	}
	is, err := os.Stat(journals[len(journals)-1])
	if err == nil {
		err = os.Truncate(journals[len(journals)-1], is.Size()-3)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	if d := l.inSync(); d.Primary != after.Primary {
		t.Errorf("%+v came after %+v", d, after)
	}
}

// TestForged has a client of the queue write into the key of what an engine was told, and fill the memory, before the
// primary is lost: its replica takes its place all the same, and one is in sync again after that.
func TestForged(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, forged := range [][]any{
		{"SET", toldKey, "9 999999"},
		{"SET", toldKey, "9 999999 " + (Document{Password: "another"}).sign("told 9 999999")},
		{"SET", toldKey, strings.Repeat("x", 1<<20)},
		{"LPUSH", toldKey, "x"},
	} {
		before := l.inSync()
		p, _ := before.primary()
		c := redis.NewClient(&redis.Options{
			Addr: l.direct[p.Addr].String(), Password: labPassword, TLSConfig: l.tls(), DB: ownDatabase,
		})
		_, err := c.TxPipelined(t.Context(), func(do redis.Pipeliner) error {
			do.Del(t.Context(), toldKey)
			return do.Do(t.Context(), forged...).Err()
		})
		if err == nil {
			err = c.ConfigSet(t.Context(), "maxmemory", "1").Err() // it is full
		}
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		l.told(p)
		l.procs[p.Addr].kill()
		l.wait("another primary", func(d Document) bool { return d.Primary != before.Primary })
		l.procs[p.Addr].start()
	}
	l.inSync()
}

// told waits until an engine is told again what it is.
func (l *lab) told(e Engine) {
	l.t.Helper()
	d := l.document()
	c := redis.NewClient(&redis.Options{
		Addr: l.direct[e.Addr].String(), Password: labPassword, TLSConfig: l.tls(), DB: ownDatabase,
	})
	defer c.Close()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, err := c.Get(l.t.Context(), toldKey).Result()
		if epoch, _ := d.parseTold(text); epoch == d.Epoch {
			return
		}
		if time.Since(begun) > time.Minute {
			l.t.Fatalf("what the engine was told is %.100q: %v", text, err)
		}
	}
}

func mustPrimary(d Document) Engine {
	p, _ := d.primary()
	return p
}

func encoded(d Document, direct map[netip.AddrPort]netip.AddrPort) []byte {
	d.Engines = slices.Clone(d.Engines)
	for i, e := range d.Engines {
		d.Engines[i].Addr = direct[e.Addr]
	}
	data, _ := json.Marshal(d)
	return data
}
