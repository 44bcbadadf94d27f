package valkey

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// as returns a client of an engine that logs in as fronts are told to.
func (l *lab) as(d Document, e Engine) *redis.Client {
	user, password := d.Front()
	c := redis.NewClient(&redis.Options{
		Addr: l.direct[e.Addr].String(), Username: user, Password: password, TLSConfig: l.tls(), MaxRetries: -1,
	})
	l.t.Cleanup(func() { c.Close() })
	return c
}

// letsIn waits until an engine lets fronts in, or no longer does.
func (l *lab) letsIn(c *redis.Client, want bool) {
	l.t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := c.Ping(l.t.Context()).Err()
		if want && err == nil || !want && err != nil && strings.HasPrefix(err.Error(), "WRONGPASS") {
			return
		}
		if time.Since(begun) > time.Minute {
			l.t.Fatalf("a front logs in: %v, want %v", err, want)
		}
	}
}

// TestFronts has fronts log in at the primary, whichever it is, and do there what programs do and nothing that is about
// the engine itself.
func TestFronts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	d := l.document()
	p, r := d.primary()
	if user, password := d.Front(); user == "" || password == d.Password {
		t.Fatalf("fronts log in as %q", user)
	}
	c := l.as(d, p)
	mayNot := `ACL LIST|ACL SETUSER x|ACL GETUSER default|ACL DELUSER default|ACL SAVE|BGREWRITEAOF|BGSAVE|CLIENT KILL ID 1|
		CLIENT NO-EVICT ON|CLIENT PAUSE 1|CLIENT UNPAUSE|CLUSTER RESET|CONFIG SET maxmemory 1|CONFIG RESETSTAT|CONFIG REWRITE|
		DEBUG SLEEP 0|FAILOVER|MIGRATE h 1 k 0 1|MODULE LOAD x|MODULE UNLOAD x|PFDEBUG ENCODING k|PSYNC ? -1|REPLCONF ACK 1|
		REPLICAOF NO ONE|SAVE|SCRIPT DEBUG NO|SHUTDOWN NOSAVE|SLAVEOF NO ONE|SYNC`
	for command := range strings.SplitSeq(mayNot, "|") {
		err := c.Do(t.Context(), words(command)...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM ") && !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: %v", command, err)
		}
	}
	script := `return redis.call("CONFIG", "SET", "maxmemory", "1")`
	if err := c.Eval(t.Context(), script, nil).Err(); err == nil {
		t.Error("a script changes the configuration")
	}
	may := `SET k v|RPUSH l 1 2|SORT l|SORT_RO l|KEYS *|INFO|CLIENT LIST|CLIENT SETNAME me|CLIENT TRACKING OFF|SCAN 0|
		DUMP k|EVAL return{1} 0|SCRIPT FLUSH|FUNCTION FLUSH|PUBLISH c m|SPUBLISH c m|CONFIG GET maxmemory|COMMAND COUNT|
		ACL WHOAMI|ROLE|LASTSAVE|SLOWLOG LEN|LATENCY LATEST|MODULE LIST|MEMORY USAGE k|OBJECT ENCODING k|XADD s * a 1|
		SWAPDB 1 2|WAIT 0 1|SELECT 3|FLUSHDB|FLUSHALL`
	for command := range strings.SplitSeq(may, "|") {
		if err := c.Do(t.Context(), words(command)...).Err(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
	l.letsIn(l.as(d, *r), false) // what it logs in with is to be read there
	l.told(p)                    // FLUSHALL takes that too
	l.procs[p.Addr].kill()
	after := l.wait("another primary", func(is Document) bool { return is.Epoch > d.Epoch })
	now := l.as(after, mustPrimary(after))
	l.letsIn(now, true)
	got, err := now.ConfigGet(t.Context(), "master*").Result()
	if got["masterauth"]+got["masteruser"] != "" || err != nil {
		t.Errorf("the primary tells what it logged in with: %v, %v", got, err)
	}
	l.procs[p.Addr].start()
	l.inSync()
	l.letsIn(l.as(after, p), false)
}

func words(command string) (all []any) {
	for _, word := range strings.Fields(command) {
		all = append(all, word)
	}
	return all
}

// TestFronts_Upgrade has managers of a version before have led, that know no user of fronts: those go on as they were
// told until the primary, which is not started again, knows it.
func TestFronts_Upgrade(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	was := l.document()
	p, _ := was.primary()
	full := was.Open(Engine{Addr: l.direct[p.Addr]})
	defer full.Close()
	began := full.InfoMap(t.Context(), "server").Val()["Server"]["run_id"]
	old := was
	old.Fronts = false
	if user, password := old.Front(); user != "" || password != labPassword {
		t.Errorf("fronts log in as %q", user)
	}
	if err := full.Do(t.Context(), "ACL", "DELUSER", frontUser).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		d := l.document()
		next := d
		next.Fronts = false
		if _, err := save(l.store, d, next, "as the version before"); err == nil {
			break
		}
	}
	d := l.wait("a user of fronts", func(d Document) bool { return d.Fronts })
	l.letsIn(l.as(d, p), true)
	if is := full.InfoMap(t.Context(), "server").Val()["Server"]["run_id"]; is != began || is == "" {
		t.Error("the engine was started again")
	}
	if fmt.Sprint(d.Engines) != fmt.Sprint(was.Engines) || d.Epoch != was.Epoch {
		t.Errorf("%+v came after %+v", d, was)
	}
}
