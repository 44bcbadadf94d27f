package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// redisCommands are those of Redis, and some of a server that would be more.
const redisCommands = `
APPEND BITCOUNT BITFIELD BITOP BITPOS BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG
DECR DECRBY DEL DISCARD DUMP ECHO EVAL EVALSHA EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST GEOHASH
GEOPOS GEOSEARCH GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HGET HGETALL HINCRBY HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN HSET HSETNX
HSTRLEN HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE LREM
LSET LTRIM MEMORY MGET MIGRATE MODULE MONITOR MOVE MSET MSETNX MULTI OBJECT PERSIST PEXPIRE PFADD PFCOUNT PING PSETEX PSUBSCRIBE PSYNC PTTL PUBLISH
PUBSUB RANDOMKEY READONLY RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF SELECT
SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER SLAVEOF SLOWLOG SMEMBERS SMOVE SORT SPOP SREM SSCAN STRLEN SUBSCRIBE SUNION SWAPDB SYNC TIME TOUCH
TTL TYPE UNLINK UNWATCH WAIT WATCH XADD XGROUP XLEN XRANGE XREAD ZADD ZCARD ZCOUNT ZINCRBY ZRANGE ZRANK ZREM ZSCORE ACL BGSAVE BGREWRITEAOF`

// tryQueue sends all commands without a password, then some with wrong ones.
func (h *heist) tryQueue(host *lab.Host, d door) {
	h.Helper()
	h.noPassword(host, d)
	h.wrongPasswords(host, d)
	h.otherProtocols(host, d)
	right := h.login(password)
	defer right.Close()
	if items, err := right.LRange(h.Context(), heistList, 0, -1).Result(); err != nil || len(items) != 1 ||
		items[0] != heistItem {
		h.Errorf("with the password there are %q, %v: nothing is shown by others getting as much", items, err)
	}
}

func (h *heist) noPassword(host *lab.Host, d door) {
	h.Helper()
	conn := h.dial(host, d)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(quick))
	replies := bufio.NewReader(conn)
	for _, name := range strings.Fields(redisCommands) {
		for _, args := range []string{
			"", " " + heistList, " " + heistList + " 0", " " + heistList + " 0 -1", " default x",
		} {
			if _, err := io.WriteString(conn, name+args+"\r\n"); err != nil {
				h.Fatalf("%s: %v", name, err)
			}
			reply, err := replies.ReadString('\n')
			// As Redis, it looks at the name and the number of arguments first.
			told := []string{"-NOAUTH ", "-EXECABORT Transaction discarded because of: ",
				"-ERR wrong number of arguments for ",
				"-ERR unknown command ", "-ERR " + name + " is not served by ", "+RESET"}
			if err != nil || !slices.ContainsFunc(told,
				func(prefix string) bool { return strings.HasPrefix(reply, prefix) }) {
				h.Fatalf("%s%s gets %q, %v", name, args, reply, err)
			}
		}
	}
}

// wrongPasswords are fewer than what the limit for guesses lets through.
func (h *heist) wrongPasswords(host *lab.Host, d door) {
	h.Helper()
	for _, args := range []string{
		`AUTH ""`, "AUTH default", "AUTH " + password[:len(password)-1], "AUTH " + password + "x",
		"AUTH " + strings.ToUpper(password),
		"AUTH default wrong", "AUTH root wrong", "HELLO 3 AUTH default wrong",
	} {
		conn := h.dial(host, d)
		_ = conn.SetDeadline(time.Now().Add(quick))
		if _, err := fmt.Fprintf(conn, "%s\r\nLRANGE %s 0 -1\r\nQUIT\r\n", args, heistList); err != nil {
			h.Fatal(err)
		}
		replies, err := io.ReadAll(conn)
		conn.Close()
		lines := strings.Split(string(replies), "\r\n")
		if err != nil || len(lines) < 2 || !strings.HasPrefix(lines[0], "-WRONGPASS") ||
			!strings.HasPrefix(lines[1], "-NOAUTH") {
			h.Errorf("%s gets %q, %v", args, replies, err)
		}
	}
}

// otherProtocols get an error of Redis or nothing.
func (h *heist) otherProtocols(host *lab.Host, d door) {
	h.Helper()
	h.tryStreams(host, d)
	conn := h.dial(host, d)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(quick))
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(h.Context()); err == nil {
		h.Error("the queue speaks TLS, which the config does not say")
	}
}

func (h *heist) login(secret string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:            h.queueAddr(),
		Password:        secret,
		Dialer:          h.stranger.DialContext,
		MaxRetries:      -1,
		DisableIdentity: true,
	})
}
