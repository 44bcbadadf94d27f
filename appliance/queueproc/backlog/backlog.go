// Package backlog reads how much there is to do in the cluster's queue, and which containers are at it, from any
// manager. It stands beside the queue's process, and not in who decides by it: what the lists of leases look like is
// the queue's business.
package backlog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

const (
	timeout = 5 * time.Second // of a look
	// leaveFor is for how long those get no items that are about to be ended: they may take some time to end when they
	// were told to, and if nobody tells them they go on then.
	leaveFor = 2 * time.Minute
)

// Key is what there is in a key.
type Key struct {
	Waiting, InFlight int64
	Leased            bool  // it is known who holds items
	Counted           bool  // Out is known
	Out               int64 // how many items have gone out since some time
}

// Seen is what there is in the queue.
type Seen struct {
	Keys  map[string]Key
	Errs  map[string]error // why a key can't be used
	Holds leases.Holders   // of an item of any key
}

// Queue is where the queue is, and which of its keys are safe.
type Queue struct {
	URL    string // with the password; empty: there is none
	CA     string // of its certificate, in PEM
	Safe   []string
	Window int
}

// Reader reads the queue that at returns. Its methods may be called from any goroutine.
type Reader struct {
	at func() Queue

	mu     sync.Mutex
	client *redis.Client
	leases *leases.Leases // through client
	of     Queue          // that the client is of
	in     map[int]inDatabase
}

// inDatabase looks at one that programs may have selected.
type inDatabase struct {
	client *redis.Client
	leases *leases.Leases
}

// New returns a reader.
func New(at func() Queue) *Reader { return &Reader{at: at} }

// Close ends connections.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
}

func (r *Reader) close() {
	if r.client != nil {
		r.client.Close()
	}
	for _, in := range r.in {
		in.client.Close()
	}
	r.client, r.of, r.in = nil, Queue{}, map[int]inDatabase{}
}

// Connect returns a client of the queue as it is now, and its leases, good until the queue is elsewhere.
func (r *Reader) Connect() (*redis.Client, *leases.Leases, error) {
	q := r.at()
	if q.URL == "" {
		return nil, nil, errors.New("the cluster has no queue; put `queue: {}` into the config of its home")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(r.of, q) {
		return r.client, r.leases, nil
	}
	options, err := redis.ParseURL(q.URL)
	if err != nil {
		return nil, nil, errors.New("the queue's address makes no sense") // the error has the password
	}
	options.DisableIdentity, options.PoolSize, options.MaxRetries = true, 2, 1
	options.ContextTimeoutEnabled = true
	if options.TLSConfig != nil {
		host, _, _ := net.SplitHostPort(options.Addr)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(q.CA))
		options.TLSConfig = &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	}
	r.close()
	r.client, r.of = redis.NewClient(leases.Bounded(options)), q
	r.leases = leases.New(q.rules(), r.client)
	return r.client, r.leases, nil
}

func (q Queue) rules() configs.Queue { return configs.Queue{Safe: q.Safe, Window: max(1, q.Window)} }

// holding returns who holds an item, in whichever database.
func (r *Reader) holding(ctx context.Context, client *redis.Client) (leases.Holders, error) {
	all := leases.Holders{Containers: map[string]bool{}, Addrs: map[string]bool{}}
	used, err := lease.Databases(ctx, lease.Redis(client))
	if err != nil {
		return all, err
	}
	for _, db := range used {
		in, ok := r.database(client, db)
		if !ok {
			return all, errors.New("the queue is elsewhere now")
		}
		some, err := in.Holding(ctx)
		if err != nil {
			return all, err
		}
		maps.Copy(all.Containers, some.Containers)
		maps.Copy(all.Addrs, some.Addrs)
	}
	return all, nil
}

// database returns the leases of a database, unless the queue is not that of a client any longer.
func (r *Reader) database(client *redis.Client, db int) (*leases.Leases, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != client {
		return nil, false
	}
	in, known := r.in[db]
	if !known {
		options := *client.Options()
		options.PoolSize, options.DB = 1, 0
		// Where a connection begins the front decides.
		options.OnConnect = func(ctx context.Context, conn *redis.Conn) error { return conn.Select(ctx, db).Err() }
		in.client = redis.NewClient(&options)
		in.leases = leases.New(r.of.rules(), in.client)
		r.in[db] = in
	}
	return in.leases, true
}

// Look returns what there is in some keys. An error is about all of them.
func (r *Reader) Look(ctx context.Context, keys ...string) (Seen, error) {
	client, held, err := r.Connect()
	if err != nil {
		return Seen{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := Seen{Keys: map[string]Key{}, Errs: map[string]error{}}
	inFlight, err := held.InFlight(ctx)
	if err != nil {
		return seen, brief(err)
	}
	if seen.Holds, err = r.holding(ctx, client); err != nil {
		return seen, brief(err)
	}
	for _, key := range keys {
		waiting, err := length(ctx, client, key)
		if err != nil {
			if seen.Errs[key] = err; ctx.Err() != nil {
				return seen, brief(err)
			}
			continue
		}
		seen.Keys[key] = Key{Waiting: waiting, InFlight: inFlight[key], Leased: held.Of(key)}
	}
	return seen, count(ctx, client, seen.Keys)
}

// Leave has containers that are about to be ended get no more items, and returns who holds one then.
func (r *Reader) Leave(ctx context.Context, ids ...string) (holds leases.Holders, err error) {
	client, _, err := r.Connect()
	if err != nil {
		return holds, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := lease.Leave(ctx, lease.Redis(client), leaveFor, ids...); err != nil {
		return holds, brief(err)
	}
	holds, err = r.holding(ctx, client)
	return holds, brief(err)
}

// Stay has containers get items again that [Reader.Leave] has none get.
func (r *Reader) Stay(ctx context.Context, ids ...string) error {
	client, _, err := r.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return brief(lease.Stay(ctx, lease.Redis(client), ids...))
}

// length returns how many items a key has. One that is not there has none.
func length(ctx context.Context, client *redis.Client, key string) (int64, error) {
	is, err := client.Type(ctx, key).Result()
	if err != nil {
		return 0, brief(err)
	}
	var n *redis.IntCmd
	switch is {
	case "none":
		return 0, nil
	case "list":
		n = client.LLen(ctx, key)
	case "set":
		n = client.SCard(ctx, key)
	case "zset":
		n = client.ZCard(ctx, key)
	default:
		return 0, fmt.Errorf("%s is a %s, and no list, set or sorted set", key, is)
	}
	v, err := n.Result()
	return v, brief(err)
}

// count counts what goes out of keys, where the engine does.
func count(ctx context.Context, client *redis.Client, keys map[string]Key) error {
	if len(keys) == 0 {
		return nil
	}
	ask, names := []any{"CRAWLBOX.FLOW"}, []string{}
	for name := range keys {
		ask, names = append(ask, name), append(names, name)
	}
	counts, err := client.Do(ctx, ask...).Int64Slice()
	var refused redis.Error
	if errors.As(err, &refused) || err == nil && len(counts) != 2*len(names) {
		return nil // another engine
	}
	if err != nil {
		return brief(err)
	}
	for i, name := range names {
		key := keys[name]
		key.Counted, key.Out = true, counts[2*i+1]
		keys[name] = key
	}
	return nil
}

// brief says in one line of bounded length why the queue can't be read.
func brief(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it does not answer within %s", timeout)
	}
	text := words.OneLine(err.Error())
	if len(text) > 200 {
		text = text[:200]
	}
	return errors.New(text)
}
