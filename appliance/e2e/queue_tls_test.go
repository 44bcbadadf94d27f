package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestQueueTLS uses a queue that speaks TLS, from machines that are no nodes, of
// which one guesses passwords.
func TestQueueTLS(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "queue: {tls: true}\n", 0)
	hosts := c.lab.AddHosts(2, lab.WithoutDocker())
	client, guesser := hosts[0], hosts[1]
	var addr api.QueueAddress
	c.read(&addr, "queue", "url")
	if want := fmt.Sprintf("rediss://default:%s@%s", addr.Password, c.queueAddr()); addr.URL != want {
		t.Errorf("the URL is %s, want %s", addr.URL, want)
	}
	const ca = "/etc/crawlbox/ca.pem"
	client.WriteFile(ca, c.run("ca")+"\n")
	ip, port, _ := net.SplitHostPort(addr.Addr)

	t.Run("redis-cli", func(t *testing.T) {
		cli := func(args ...string) string {
			r := client.Exec(t.Context(), append([]string{"timeout", "10", "redis-cli", "--no-auth-warning"},
				args...)...)
			return r.Stdout + r.Stderr
		}
		contains(t, cli("--tls", "--cacert", ca, "-u", addr.URL, "ping"), "PONG")
		contains(t, cli("--tls", "-u", addr.URL, "ping"), "certificate verify failed")
		contains(t, cli("--tls", "--cacert", ca, "-h", ip, "-p", port, "llen", "k"), "NOAUTH")
		if said := cli("-h", ip, "-p", port, "-a", addr.Password, "ping"); strings.Contains(said, "PONG") {
			t.Errorf("without TLS: %s", said)
		}
	})
	t.Run("redis-py", func(t *testing.T) {
		out := client.MustExec("/usr/bin/python3", "-c", redisPyTLS, addr.URL, ca,
			strings.Replace(addr.URL, "rediss", "redis", 1))
		contains(t, out, "got: item1 None", "unknown CA: CERTIFICATE_VERIFY_FAILED", "plain: ConnectionError")
	})
	t.Run("commands", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("queue", "push", "list", "a", "b"), "2 items pushed, 2 in the list")
		contains(t, c.run("queue", "len"), "list", "2")
		contains(t, c.run("queue", "peek", "list"), "a\nb")
		contains(t, c.run("queue", "clear", "--yes", "list"), "2 items deleted")
	})
	t.Run("guesses", func(t *testing.T) { c.sub(t).guesses(guesser, client, addr) })
}

// redisPyTLS is how redis-py checks the CA and the address.
const redisPyTLS = `
import redis, sys
url, ca, plain = sys.argv[1:]
client = redis.Redis.from_url(url, ssl_ca_certs=ca, ssl_check_hostname=True)
client.rpush('py', 'item1')
print('got:', client.lpop('py').decode(), client.lpop('py'))
try:
    redis.Redis.from_url(url).ping()
except redis.ConnectionError as e:
    print('unknown CA:', 'CERTIFICATE_VERIFY_FAILED' if 'CERTIFICATE_VERIFY_FAILED' in str(e) else e)
try:
    redis.Redis.from_url(plain, socket_timeout=5).ping()
except redis.ConnectionError as e:
    print('plain: ConnectionError')
`

// guesses tries passwords for a while from one host, as fast as it can, and logs
// in from another meanwhile.
func (c *cluster) guesses(guesser, client *lab.Host, addr api.QueueAddress) {
	c.Helper()
	const lasts = 5 * time.Second
	// Without a deadline: a dialer's own timer may end a try before ctx is done.
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	defer time.AfterFunc(lasts, cancel).Stop()
	var looked, put atomic.Int64
	var guessing sync.WaitGroup
	for range 10 { // more than may stand in line
		guessing.Go(func() {
			for ctx.Err() == nil {
				switch said := c.login(ctx, guesser, addr.Addr, "guess"); {
				case strings.HasPrefix(said, "-WRONGPASS"):
					looked.Add(1)
				case strings.Contains(said, "too many wrong passwords from your address: try again in"):
					put.Add(1)
				case ctx.Err() == nil:
					c.Errorf("a guess is answered with %q", said)
				}
			}
		})
	}
	logins, slowest := 0, time.Duration(0)
	for ; ctx.Err() == nil; logins++ {
		begun := time.Now()
		if said := c.login(c.Context(), client, addr.Addr, addr.Password); said != "+OK\r\n" {
			c.Errorf("the right password from elsewhere is answered with %q", said)
		}
		slowest = max(slowest, time.Since(begun))
	}
	guessing.Wait()
	c.Logf("%d guesses were looked at and %d put off, while there were %d logins from elsewhere of at most %s",
		looked.Load(), put.Load(), logins, slowest)
	if n := looked.Load(); n < 10 || n > 10+int64(lasts/time.Second)+1 {
		c.Errorf("%d guesses were looked at", n)
	}
	if put.Load() == 0 {
		c.Error("nobody was told to wait")
	}
	if logins < 3 || slowest > 2*time.Second {
		c.Errorf("from elsewhere there were %d logins, and one took %s", logins, slowest)
	}
}

// login connects anew and gives a password once. It returns the answer, or what
// went wrong.
func (c *cluster) login(ctx context.Context, h *lab.Host, addr, password string) string {
	raw, err := h.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err.Error()
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\n", password); err != nil {
		return err.Error()
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return answer
}
