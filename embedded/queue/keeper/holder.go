package keeper

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// connPrefix begins the ID of a holder that is no container.
const connPrefix = "conn-"

// holder is a container, or a connection, that pops. In the engine it has a name of its own for
// each time that a reply was lost: see [Keeper.giveBack].
type holder struct {
	id     string
	run    string                       // of its keeper
	giving sync.Mutex                   // held while items of a lost reply go back
	backs  map[int]map[string]time.Time // by database: what [lease.Rules.Unsure] has noted; giving is held
	failed atomic.Bool                  // its last pops are about to go back

	mu     sync.Mutex
	epochs map[int]int  // by database in which it has popped: how often it was renamed
	holds  map[int]bool // by database: it has popped since it asked for something and found nothing
	stale  map[int][]string
	unsure int           // pops whose items are on their way back
	sure   chan struct{} // closed when there are none; nil: there are none
	ended  bool
}

func (k *Keeper) newHolder(id string) *holder {
	return &holder{
		id: id, run: k.run, backs: map[int]map[string]time.Time{},
		epochs: map[int]int{}, holds: map[int]bool{}, stale: map[int][]string{},
	}
}

// nameMark is between a holder's ID and what tells its names apart: which keeper gave it, and how
// many it had before.
const nameMark = "~"

// parseName takes a holder's name apart.
func parseName(name string) (id, run string, epoch int) {
	i := strings.LastIndex(name, nameMark)
	if i < 0 {
		return name, "", 0
	}
	run, digits, _ := strings.Cut(name[i+len(nameMark):], "-")
	epoch, _ = strconv.Atoi(digits)
	return name[:i], run, epoch
}

func (h *holder) named(epoch int) string { return h.id + nameMark + h.run + "-" + strconv.Itoa(epoch) }

// name returns what the holder is called in a database, in which it will have items.
func (h *holder) name(db int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	epoch, known := h.epochs[db]
	if !known {
		h.epochs[db] = 0
	}
	return h.named(epoch)
}

// rename gives the holder its next name, and returns both.
func (h *holder) rename(db int) (from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from = h.named(h.epochs[db])
	h.epochs[db]++
	h.stale[db] = append(h.stale[db], from)
	return from, h.named(h.epochs[db])
}

// back returns what is noted of the items of a database that went back since their replies were in doubt.
func (h *holder) back(db int) map[string]time.Time {
	if h.backs[db] == nil {
		h.backs[db] = map[string]time.Time{}
	}
	return h.backs[db]
}

// took notes that the holder has an item.
func (h *holder) took(db int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds[db] = true
}

// dropped notes that it has none, and reports whether it had.
func (h *holder) dropped(db int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	had := h.holds[db]
	h.holds[db] = false
	return had
}

// cleared notes that nothing is left under a name of before.
func (h *holder) cleared(db int, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rest []string
	for _, other := range h.stale[db] {
		if other != name {
			rest = append(rest, other)
		}
	}
	h.stale[db] = rest
}

// doubt notes that a pop's items have to go back before the holder pops again.
func (h *holder) doubt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unsure++; h.sure == nil {
		h.sure = make(chan struct{})
	}
}

// settled notes that they have.
func (h *holder) settled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unsure--; h.unsure == 0 {
		close(h.sure)
		h.sure = nil
	}
}

// doubts returns what is closed when nothing is on its way back, nil when nothing is.
func (h *holder) doubts() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sure
}

// databases returns those in which the holder has popped.
func (h *holder) databases() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.epochs))
}

// end notes that the holder is no more, and returns its name in each database, and those that
// it had before.
func (h *holder) end() (names map[int]string, stale map[int][]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	names = map[int]string{}
	for db, epoch := range h.epochs {
		names[db] = h.named(epoch)
	}
	return names, maps.Clone(h.stale)
}

func (h *holder) gone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// container returns the holder that a container is, whose end is waited for.
func (k *Keeper) container(id string) *holder {
	k.mu.Lock()
	h := k.holders[id]
	fresh := h == nil
	if fresh {
		h = k.newHolder(id)
		k.holders[id] = h
	}
	k.mu.Unlock()
	if fresh {
		k.background(func(ctx context.Context) { k.watch(ctx, h) })
	}
	return h
}

// known returns the holder that a container is, nil if it has not popped.
func (k *Keeper) known(id string) *holder {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holders[id]
}

// full reports whether no more containers are looked after that have not popped here.
func (k *Keeper) full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.holders) >= mostHolders
}

// holding reports whether there are containers that have popped.
func (k *Keeper) holding() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.holders) > 0
}

// watch settles what a container held once that has ended.
func (k *Keeper) watch(ctx context.Context, h *holder) {
	end := lease.Back
	k.retry(ctx, "learn of a container's end", func() error {
		if k.opts.Containers == nil {
			return nil
		}
		clean, err := k.opts.Containers.Ended(ctx, h.id)
		if err == nil && clean {
			end = lease.Done
		}
		return err
	})
	if ctx.Err() == nil {
		k.settle(ctx, h, end)
	}
}

// settle ends a holder, and looks again when the engine must have done what it had read of its
// connections.
func (k *Keeper) settle(ctx context.Context, h *holder, end lease.End) {
	if sure := h.doubts(); sure != nil {
		select {
		case <-sure:
		case <-ctx.Done():
			return
		}
	}
	h.giving.Lock()
	names, stale := h.end()
	for db, name := range names {
		k.retry(ctx, "settle what "+name+" held", func() error {
			settled, err := k.opts.Rules.Settle(ctx, k.do(db), name, end)
			if settled.Ended > 0 {
				k.log.Info("settled what a consumer held", "holder", name, "end", end, "items", settled.Ended,
					"dead", settled.Dead)
			}
			return err
		})
	}
	h.giving.Unlock()
	for db, name := range names {
		for _, name := range append(stale[db], name) {
			k.clear(ctx, h, db, name)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holders[h.id] == h {
		delete(k.holders, h.id)
	}
}

// giveBack gives back the items of a pop whose reply may not have reached its client. The engine
// may do that pop still, since it reads what it was sent on a connection that has ended. So the
// holder gets another name, and what appears under the old one later goes back too: among the
// holder's newer items it would be taken for done.
func (k *Keeper) giveBack(h *holder, db int, stamp string) {
	h.doubt()
	k.background(func(ctx context.Context) {
		h.giving.Lock()
		defer h.giving.Unlock()
		from, to := h.rename(db)
		k.retry(ctx, "give back items whose reply was lost", func() error {
			if err := k.rename(ctx, db, from, to); err != nil {
				return err
			}
			_, err := lease.Undo(ctx, k.do(db), to, stamp)
			return err
		})
		h.settled()
		k.background(func(ctx context.Context) { k.clear(ctx, h, db, from) })
	})
}

// giveBackLast gives back the last pops of all connections of a holder: it met an engine that could not be used, and
// may have forgotten what it had popped a moment ago, as programs do that need the engine for the item itself.
func (k *Keeper) giveBackLast(h *holder) {
	if !h.failed.CompareAndSwap(false, true) {
		return // once for all that fails meanwhile
	}
	h.doubt()
	k.background(func(ctx context.Context) {
		h.giving.Lock()
		defer h.giving.Unlock()
		h.failed.Store(false)
		for _, db := range h.databases() {
			k.retry(ctx, "give back items that a consumer may have forgotten", func() error {
				_, err := k.opts.Rules.Unsure(ctx, k.do(db), h.name(db), h.back(db))
				return err
			})
		}
		h.settled()
	})
}

// clear gives back what has appeared under a name of before, when the engine must have done what
// it had read.
func (k *Keeper) clear(ctx context.Context, h *holder, db int, name string) {
	if clock.Sleep(ctx, settleAgain) != nil {
		return
	}
	k.retry(ctx, "give back items whose reply was lost", func() error {
		_, err := lease.UndoAll(ctx, k.do(db), name)
		return err
	})
	h.cleared(db, name)
}

// rename moves what a holder holds to another name, where it holds something and nothing has
// that name.
func (k *Keeper) rename(ctx context.Context, db int, from, to string) error {
	client := k.engine(db)
	about, err := client.HGet(ctx, script.Holders, from).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err == nil { // first, or nobody would find the list after a crash
		err = client.HSet(ctx, script.Holders, to, about).Err()
	}
	if err != nil {
		return err
	}
	err = client.RenameNX(ctx, script.HeldPrefix+from, script.HeldPrefix+to).Err()
	var refused redis.Error
	if err != nil && !errors.As(err, &refused) { // there may be no such list, or no longer
		return err
	}
	return lease.Forget(ctx, k.do(db), from)
}
