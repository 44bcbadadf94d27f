package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestQueue uses the queue as spiders do, from another host, and ends crawlbox
// under it in both ways.
func TestQueue(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	host := c.lab.AddHost(lab.WithoutDocker())

	t.Run("off", func(t *testing.T) {
		c := c.sub(t)
		if conn, err := host.DialContext(t.Context(), "tcp", c.queueAddr()); err == nil {
			conn.Close()
			t.Error("the queue is off and its port open")
		}
		for _, cmd := range []string{"url", "len", "peek k", "push k v", "clear k --yes"} {
			args := append([]string{"queue"}, strings.Fields(cmd)...)
			contains(t, c.fails(c.manager, 1, args...), "the queue is off", "queue: {}", "/etc/crawlbox/crawlbox.yaml")
		}
	})

	c.stop(c.manager)
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", "queue: {}\n")
	c.startManager()
	var addr api.QueueAddress
	c.read(&addr, "queue", "url")

	t.Run("password", func(t *testing.T) {
		c := c.sub(t)
		if mode := c.manager.MustExec("stat", "--format", "%a", passwordFile); mode != "600" {
			t.Errorf("%s has mode %s", passwordFile, mode)
		}
		if url := c.run("queue", "url"); url != fmt.Sprintf("redis://default:%s@%s",
			strings.TrimSpace(c.manager.ReadFile(passwordFile)), c.queueAddr()) || url != addr.URL {
			t.Errorf("the URL is %s, and %v in JSON", url, addr)
		}
	})
	t.Run("redis-cli", func(t *testing.T) {
		cli := func(args ...string) string {
			return host.MustExec(append([]string{"redis-cli", "--no-auth-warning"}, args...)...)
		}
		contains(t, cli("-u", addr.URL, "ping"), "PONG")
		contains(t, c.manager.MustExec("redis-cli", "--no-auth-warning", "-p", "7891", "-a",
			strings.TrimSpace(c.manager.ReadFile(passwordFile)), "ping"), "PONG")
		ip, port, _ := net.SplitHostPort(addr.Addr)
		contains(t, cli("-h", ip, "-p", port, "lpop", "k"), "NOAUTH")
		contains(t, cli("-h", ip, "-p", port, "-a", "wrong", "lpop", "k"), "NOAUTH")
	})
	t.Run("redis-py", func(t *testing.T) {
		ip, port, _ := net.SplitHostPort(addr.Addr)
		out := host.MustExec("/usr/bin/python3", "-c", redisPy, ip, port, addr.Password)
		contains(t, out, "got: item1 item2 None", "refused: Authentication required")
	})
	t.Run("commands", func(t *testing.T) { c.sub(t).queueCommands(addr) })
	t.Run("another Redis", func(t *testing.T) { c.sub(t).copyQueue(host) })
	t.Run("crawlbox is killed", func(t *testing.T) { c.sub(t).killQueue(host, addr) })
	t.Run("crawlbox is stopped", func(t *testing.T) { c.sub(t).stopQueue(host, addr) })
	t.Run("journal is damaged", func(t *testing.T) { c.sub(t).damageQueue(host, addr) })
}

const passwordFile = "/var/lib/crawlbox/queue.password"

// redisPy is the walkthrough's use of redis-py.
const redisPy = `
import redis, sys
host, port, password = sys.argv[1:]
client = redis.Redis(host=host, port=port, password=password)
client.rpush('example:swarm:py', 'item1', 'item2')
take = lambda: client.lpop('example:swarm:py')
print('got:', take().decode(), take().decode(), take())
try:
    redis.Redis(host=host, port=port).lpop('example:swarm:py')
except redis.AuthenticationError as e:
    print('refused:', e)
`

func (c *cluster) queueAddr() string { return c.manager.At(7891) }

// queueCommands fill and empty lists, from arguments and from pipes.
func (c *cluster) queueCommands(addr api.QueueAddress) {
	c.Helper()
	shell := func(script string) string { return c.manager.MustExec("sh", "-euc", script) }
	contains(c.T, c.run("queue", "push", "list", "a", "b c"), "2 items pushed, 2 in the list")
	contains(c.T, shell("seq 100000 | crawlbox queue push list -"), "100000 items pushed, 100002 in the list")
	if out := shell("crawlbox queue peek list | head -n 3"); out != "a\nb c\n1" {
		c.Errorf("the list begins with %q", out)
	}
	if out := shell("crawlbox queue peek list -n 100002 | tail -n 1"); out != "100000" {
		c.Errorf("the list ends with %q", out)
	}
	if out := c.run("queue", "len", "list"); out != "100002" {
		c.Errorf("the list has %s items", out)
	}
	contains(c.T, c.run("queue", "len"), "KEY", "list", "100002")
	contains(c.T, shell("redis-cli --no-auth-warning -u $(crawlbox queue url) llen list"), "100002")
	shell("redis-cli --no-auth-warning -u $(crawlbox queue url) set word x")
	contains(c.T, c.run("queue", "len"), "word", "string")
	contains(c.T, c.fails(c.manager, 1, "queue", "push", "word", "y"), "word is not a list", "crawlbox queue len")
	contains(c.T, c.fails(c.manager, 2, "queue", "clear", "list"), "--yes")
	contains(c.T, c.run("queue", "clear", "--yes", "list"), "100002 items deleted")
	if out := c.run("queue", "len", "list"); out != "0" {
		c.Errorf("the deleted list has %s items", out)
	}
}

// copyQueue brings keys over from a Redis of another host and back, and watches one.
func (c *cluster) copyQueue(h *lab.Host) {
	c.Helper()
	h.MustExec("redis-server", "--daemonize", "yes", "--port", "6379", "--requirepass", "geheim", "--save", "", "--dir",
		"/tmp")
	cli := func(args ...string) string {
		return h.MustExec(append([]string{"redis-cli", "--no-auth-warning", "-a", "geheim"}, args...)...)
	}
	lab.WaitFor(c, patience, "redis-server to be there",
		func() error { return h.Exec(c.Context(), "redis-cli", "-a", "geheim", "ping").Err() })
	h.MustExec("sh", "-euc", "seq 30000 | sed 's/^/RPUSH moved /' | redis-cli --no-auth-warning -a geheim >/dev/null")
	cli("pexpire", "moved", "3600000")
	c.manager.WriteFile("/root/redis.url", "redis://:geheim@"+h.At(6379)+"\n")
	contains(c.T, c.run("queue", "import", "--url-file", "/root/redis.url"), "imported 1 key from "+h.At(6379)+
		": 30000 items")
	if out := c.run("queue", "len", "moved"); out != "30000" {
		c.Errorf("of 30000 items %s came", out)
	}
	contains(c.T, c.fails(c.manager, 1, "queue", "import", "--url-file", "/root/redis.url"), "1 key", "--replace")
	out := c.manager.MustExec("sh", "-euc", "crawlbox queue watch moved --interval 100ms --json | head -n 2")
	contains(c.T, out, `"items":30000`, `"in":0,"out":0,"net":0`)
	cli("del", "moved")
	contains(c.T, c.run("queue", "export", "--url-file", "/root/redis.url", "--keys", "moved"), "exported 1 key")
	contains(c.T, cli("lrange", "moved", "-1", "-1"), "30000")
	if ttl, _ := strconv.Atoi(cli("ttl", "moved")); ttl < 3000 || ttl > 3600 {
		c.Errorf("the key is deleted in %d s", ttl)
	}
	c.run("queue", "clear", "--yes", "moved")
}

// dialQueue connects a go-redis client from a host, which trusts ca where the queue speaks TLS. It tries nothing twice.
func dialQueue(t *testing.T, h *lab.Host, addr api.QueueAddress, ca ...string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(addr.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries, opts.DisableIdentity = -1, true
	opts.Dialer = h.DialContext
	if secured := opts.TLSConfig; secured != nil {
		secured.RootCAs = x509.NewCertPool()
		secured.RootCAs.AppendCertsFromPEM([]byte(strings.Join(ca, "\n")))
		opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := h.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, secured), nil
		}
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

// writer pushes numbers, one after another, until it is refused.
type writer struct {
	acked []time.Time   // when the queue had taken each of them
	warm  chan struct{} // closed after 2 s of that
	done  chan struct{}
}

func startWriter(ctx context.Context, client *redis.Client, key string) *writer {
	w := &writer{warm: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		warm := time.AfterFunc(2*time.Second, func() { close(w.warm) })
		defer warm.Stop()
		for client.RPush(ctx, key, len(w.acked)).Err() == nil {
			w.acked = append(w.acked, time.Now())
		}
	}()
	return w
}

// await waits until the writer is warm.
func (w *writer) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.warm:
	case <-w.done:
		t.Fatalf("refused after %d writes", len(w.acked))
	}
}

// sequence counts the numbers of a writer that are there, and fails the test if
// one is missing between them.
func (c *cluster) sequence(client *redis.Client, key string) int {
	c.Helper()
	list, err := client.LRange(c.Context(), key, 0, -1).Result()
	if err != nil {
		c.Fatal(err)
	}
	for i, item := range list {
		if item != strconv.Itoa(i) {
			c.Fatalf("item %d of %s is %s", i, key, item)
		}
	}
	return len(list)
}

// stopQueue loses nothing.
func (c *cluster) stopQueue(h *lab.Host, addr api.QueueAddress) {
	c.Helper()
	client := dialQueue(c.T, h, addr)
	w := startWriter(c.Context(), client, "stopped")
	w.await(c.T)
	c.stop(c.manager)
	<-w.done
	c.startManager()
	// The last write may have been taken without a word.
	if kept := c.sequence(client, "stopped"); kept < len(w.acked) || kept > len(w.acked)+1 {
		c.Errorf("%d of %d writes were kept", kept, len(w.acked))
	}
}

// killQueue loses at most the writes of the last second, and nothing between two
// that are there.
func (c *cluster) killQueue(h *lab.Host, addr api.QueueAddress) {
	c.Helper()
	client, ctx := dialQueue(c.T, h, addr), c.Context()
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, "before", "a", "b", "c")
		p.LPop(ctx, "before")
		p.Set(ctx, "mortal", "x", time.Hour)
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
	w := startWriter(ctx, client, "killed")
	w.await(c.T)
	c.agents[c.manager].Kill()
	killed := time.Now()
	<-w.done
	c.startManager()

	kept := c.sequence(client, "killed")
	safe := 0
	for safe < len(w.acked) && killed.Sub(w.acked[safe]) > time.Second {
		safe++
	}
	c.Logf("of %d writes, %d of them older than a second, %d were kept", len(w.acked), safe, kept)
	if safe == 0 || kept < safe {
		c.Errorf("%d writes were kept of %d that were older than a second", kept, safe)
	}
	if list := client.LRange(ctx, "before", 0, -1).Val(); fmt.Sprint(list) != "[b c]" {
		c.Errorf("a list from before is %v", list)
	}
	if ttl := client.TTL(ctx, "mortal").Val(); ttl < 55*time.Minute || ttl > time.Hour {
		c.Errorf("a key that lives an hour has %s to live", ttl)
	}
	var now api.QueueAddress
	if c.read(&now, "queue", "url"); now != addr {
		c.Errorf("the address was %v and is %v", addr, now)
	}
}

// damageQueue spoils the journal: the status says where, and what it says to do helps.
// All else starts and serves meanwhile.
func (c *cluster) damageQueue(h *lab.Host, addr api.QueueAddress) {
	c.Helper()
	c.stop(c.manager)
	c.manager.MustExec("sh", "-euc",
		`printf '\377\377\377\377' | dd of="$(ls -S /var/lib/crawlbox/queue/segment-* | head -n 1)" bs=1 seek=20 conv=notrunc status=none`)
	c.startManager()
	remedy := ""
	lab.WaitFor(c, patience, "the damage to be said", func() error {
		var st api.Status
		c.read(&st, "status")
		said := fmt.Sprint(st.Problems)
		_, after, found := strings.Cut(said, "`truncate -s ")
		command, _, _ := strings.Cut(after, "`")
		if remedy = "truncate -s " + command; !found ||
			!strings.Contains(said, "the queue does not run: /var/lib/crawlbox/queue/segment-") {
			return fmt.Errorf("the status says %q", said)
		}
		return nil
	})
	contains(c.T, c.fails(c.manager, 1, "queue", "len"), "the queue does not run", "is damaged at byte")
	c.push("localhost:8003/beside:1")
	c.token("worker")
	c.manager.MustExec("sh", "-euc", remedy)
	lab.WaitFor(c, patience, "the queue to be back",
		func() error { return dialQueue(c.T, h, addr).Set(c.Context(), "k", "v", 0).Err() })
	var st api.Status
	if c.read(&st, "status"); !st.Queue.Serving || len(wrong(st)) > 0 {
		c.Errorf("the status is %+v", st)
	}
}
