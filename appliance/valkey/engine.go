package valkey

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	dialTimeout   = 700 * time.Millisecond
	answerTimeout = time.Second
	// ownDatabase has the key of what an engine was told.
	ownDatabase = 15
	// toldKey holds the epoch of the data, and the change of the document that the engine was told last.
	toldKey = "crawlbox:told"
	// mostTold is longer than what it holds, in bytes: clients of the queue can write it as well.
	mostTold = 200
	// oldest is the first version of Redis' protocol and commands that will do.
	oldest = "7.0"
)

// Open returns a client of an engine.
func (d Document) Open(e Engine) *redis.Client {
	secured, err := d.Keys.config()
	if err != nil {
		secured = &tls.Config{RootCAs: x509.NewCertPool()} // it gets nowhere
	}
	return redis.NewClient(&redis.Options{
		Addr:            e.Addr.String(),
		Password:        d.Password,
		TLSConfig:       secured,
		DB:              ownDatabase,
		DialTimeout:     dialTimeout,
		ReadTimeout:     answerTimeout,
		WriteTimeout:    answerTimeout,
		MaxRetries:      -1,
		PoolSize:        4,
		DisableIdentity: true,
	})
}

// observe asks an engine how it is.
func observe(ctx context.Context, c *redis.Client, d Document) (o Observed, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var info, wants, told, user, fronts, follower *redis.Cmd
	_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		info = p.Do(ctx, "INFO", "server", "replication", "persistence", "memory")
		wants = p.Do(ctx, "CONFIG", "GET", "min-replicas-to-write")
		follower = p.Do(ctx, "CONFIG", "GET", "masteruser")
		told = p.Do(ctx, "GETRANGE", toldKey, 0, mostTold)
		user = p.Do(ctx, "ACL", "GETUSER", d.user())
		fronts = p.Do(ctx, "ACL", "GETUSER", frontUser)
		return nil
	})
	text, infoErr := info.Text()
	if infoErr != nil {
		return o, errors.Join(infoErr, context.Cause(ctx))
	}
	words, toldErr := heard(told)
	if err = cmpErr(toldErr, user.Err(), fronts.Err(), wants.Err(), follower.Err()); err != nil {
		return o, err
	}
	readInfo(text, &o)
	if o.Version != "" && slices.Compare(numbers(o.Version), numbers(oldest)) < 0 {
		return o, fmt.Errorf("it is version %s, older than %s: set queue.image to a newer one", o.Version, oldest)
	}
	o.Wants, _ = strconv.Atoi(setting(wants))
	o.User = setting(follower)
	o.Configured, o.Fronts = user.Err() == nil, fronts.Err() == nil
	o.Epoch, o.Change = d.parseTold(words)
	return o, nil
}

// cmpErr returns the first error but that there is no such thing.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

// setting returns the value in an answer to CONFIG GET.
func setting(cmd *redis.Cmd) string {
	pairs, err := cmd.StringSlice()
	if err == nil && len(pairs) == 2 {
		return pairs[1]
	}
	is, _ := cmd.Val().(map[any]any)
	for _, value := range is {
		return fmt.Sprint(value)
	}
	return ""
}

func numbers(version string) (list []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		list = append(list, n)
	}
	return list
}

// readInfo takes what INFO says.
func readInfo(text string, o *Observed) {
	var host, port string
	linked, syncing, loading := false, false, false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "redis_version":
			o.Version = value
		case "role":
			o.Replica = value == "slave"
		case "master_host":
			host = value
		case "master_port":
			port = value
		case "master_link_status":
			linked = value == "up"
		case "master_sync_in_progress":
			syncing = n != 0
		case "loading":
			loading = n != 0
		case "slave_repl_offset":
			o.Offset = n
		case "master_repl_offset":
			if !o.Replica {
				o.Offset = n
			}
		case "used_memory":
			o.Memory = n
		case "slave0", "slave1":
			readFollower(value, o)
		}
	}
	o.Linked = linked && !syncing && !loading
	if o.Replica {
		o.Follows = net.JoinHostPort(host, port)
	}
}

// readFollower takes what a primary says of one that follows it.
func readFollower(value string, o *Observed) {
	is := map[string]string{}
	for pair := range strings.SplitSeq(value, ",") {
		name, value, _ := strings.Cut(pair, "=")
		is[name] = value
	}
	lag, err := strconv.Atoi(is["lag"])
	if is["state"] == "online" && err == nil && lag < maxLag {
		o.Followed = true
		o.Acked, _ = strconv.ParseInt(is["offset"], 10, 64)
	}
}

// errOlder is returned where an engine was told something newer already, by another manager.
var errOlder = errors.New("another manager has told the queue's Valkey something newer")

// shaper tells one engine what it is to be.
type shaper struct {
	c *redis.Client
	e Engine
	d Document
	o Observed
}

// older reports whether the engine was told something newer, also as the replica of another.
func (s shaper) older() bool { return s.o.Change > s.d.Change || epochOf(s.o.User) > s.d.Epoch }

// follow makes the engine the replica of the primary. What it has and that has not is dropped.
func (s shaper) follow(ctx context.Context, p Engine) error {
	if s.o.Replica && s.o.Follows == p.Addr.String() && s.o.Wants == 1 && s.o.User == s.d.user() && !s.o.Fronts {
		return nil
	}
	// Its clients are cut off, so that their writes come to the primary; a pause would hold up replication.
	return s.guarded(ctx, func(do redis.Pipeliner) {
		do.Do(ctx, "ACL", "DELUSER", s.d.user(), frontUser)
		do.Do(ctx, "CONFIG", "SET", "min-replicas-to-write", 1, "masteruser", s.d.user(), "masterauth",
			s.d.userPassword())
		do.Do(ctx, "REPLICAOF", p.Addr.Addr().String(), p.Addr.Port())
		do.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		do.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub")
		do.Do(ctx, "CLIENT", "UNPAUSE")
	}, func(*redis.Tx) error { return nil })
}

// admit lets fronts log in, and replicas of this generation, and ends the connections of those of others.
func (s shaper) admit(ctx context.Context) error {
	switch {
	case s.o.Configured && s.o.Fronts:
		return nil
	case s.o.Configured: // by a version before
		return s.run(ctx, s.d.admitFronts())
	}
	users, err := s.c.Do(ctx, "ACL", "USERS").StringSlice()
	if err != nil {
		return err
	}
	replica := []any{
		"ACL", "SETUSER", s.d.user(), "reset", "on", ">" + s.d.userPassword(), "+psync", "+replconf", "+ping",
	}
	commands := [][]any{s.d.admitFronts(), replica}
	for _, user := range users {
		if strings.HasPrefix(user, replicaUsers) && user != s.d.user() {
			commands = append(commands, []any{"ACL", "DELUSER", user})
		}
	}
	return s.run(ctx, commands...)
}

// hold has a primary to be take no writes for a while, in which the one before learns that it may not: from then on it
// has no replica.
func (s shaper) hold(ctx context.Context, wait time.Duration) error {
	return s.guarded(ctx, func(p redis.Pipeliner) {
		p.Do(ctx, "CLIENT", "PAUSE", wait.Milliseconds(), "WRITE")
		p.Do(ctx, "REPLICAOF", "NO", "ONE")
		p.Do(ctx, "CONFIG", "SET", "min-replicas-to-write", 0, "masteruser", "", "masterauth", "")
		p.Do(ctx, s.d.admitFronts()...)
	}, func(*redis.Tx) error { return nil })
}

// guarded has the engine do commands all at once, unless it was told something newer, and then what is after them. One
// whose memory is full does nothing at once, so that gets room for a moment.
func (s shaper) guarded(ctx context.Context, commands func(redis.Pipeliner), then func(*redis.Tx) error) error {
	if s.older() {
		return errOlder
	}
	err := s.atOnce(ctx, commands, then)
	if err == nil || !strings.HasPrefix(err.Error(), "OOM ") && !strings.HasPrefix(err.Error(), "EXECABORT ") {
		return err
	}
	room := func(ctx context.Context, bytes int64) error {
		return s.c.ConfigSet(ctx, "maxmemory", strconv.FormatInt(bytes, 10)).Err()
	}
	defer func() { _ = room(context.WithoutCancel(ctx), s.e.Memory) }()
	if err := room(ctx, 0); err != nil {
		return err
	}
	return s.atOnce(ctx, commands, then)
}

func (s shaper) atOnce(ctx context.Context, commands func(redis.Pipeliner), then func(*redis.Tx) error) error {
	return s.c.Watch(ctx, func(tx *redis.Tx) error {
		text, err := heard(tx.Do(ctx, "GETRANGE", toldKey, 0, mostTold))
		if err != nil {
			return err
		}
		if _, change := s.d.parseTold(text); change > s.d.Change {
			return errOlder
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			commands(p)
			return nil
		})
		if err != nil {
			return err
		}
		return then(tx)
	}, toldKey)
}

// heard returns what an engine was told, as it has it; nothing where the key is something else.
func heard(cmd *redis.Cmd) (string, error) {
	text, err := cmd.Text()
	if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return "", nil
	}
	return text, err
}

// told returns what an engine is told, signed: clients of the queue, who do not know the password, could write another
// epoch, and nobody would be obeyed any longer.
func (d Document) told(epoch, change int) string {
	text := fmt.Sprintf("%d %d", epoch, change)
	return text + " " + d.sign("told "+text)
}

// parseTold reads that; zero where it is not signed.
func (d Document) parseTold(text string) (epoch, change int) {
	_, _ = fmt.Sscanf(text, "%d %d", &epoch, &change)
	if !hmac.Equal([]byte(text), []byte(d.told(epoch, change))) {
		return 0, 0
	}
	return epoch, change
}

// lead has the primary take writes as the document says, and remember that it was told.
func (s shaper) lead(ctx context.Context) error {
	wants := 0
	if s.d.Fenced {
		wants = 1
	}
	if s.o.Wants == wants && s.o.Change == s.d.Change && s.o.Epoch == s.d.Epoch {
		return nil
	}
	return s.guarded(ctx, func(p redis.Pipeliner) {
		p.Do(ctx, "CONFIG", "SET", "min-replicas-to-write", wants)
		if wants == 0 {
			p.Do(ctx, "CLIENT", "UNPAUSE")
		}
	}, func(tx *redis.Tx) error {
		return tx.Set(ctx, toldKey, s.d.told(s.d.Epoch, s.d.Change), 0).Err()
	})
}

func (s shaper) run(ctx context.Context, commands ...[]any) error {
	cmds, err := s.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, args := range commands {
			p.Do(ctx, args...)
		}
		return nil
	})
	for _, cmd := range cmds {
		if err == nil {
			err = cmd.Err()
		}
	}
	return err
}
