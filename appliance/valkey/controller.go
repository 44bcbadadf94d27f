package valkey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// lookEvery is how often the engines are looked at.
	lookEvery = 400 * time.Millisecond
	// placeEvery is how often it is looked which managers there are.
	placeEvery = 5 * time.Second
	// handOverAgain is how long after a hand-over the swarm's leader has none: that may change often.
	handOverAgain = time.Minute
	// handOverTime bounds how long writes wait for one.
	handOverTime = 3 * time.Second
)

// Cluster is what the engines run in.
type Cluster interface {
	// Managers returns the nodes of the swarm, of which engines can be on those that are managers and usable: without
	// slot; port 0 is that of the document.
	Managers(ctx context.Context) ([]Manager, error)
	// Image pins an image, and brings it into the cluster.
	Image(ctx context.Context, named string) (pinned string, err error)
	// Run has the services run as the document says, and no others.
	Run(ctx context.Context, d Document) error
}

// Controller decides which engine is the primary, on the manager that leads. Two that think they lead do no harm.
type Controller struct {
	// Tell is given the document where there is a primary, again and again; nil: nobody is.
	Tell func(Document) error

	store   Store
	cluster Cluster
	log     *slog.Logger

	clients  map[Engine]*redis.Client
	answered map[Engine]time.Time // when engines were asked last what they answered; at first, when they were asked
	opened   int                  // epoch that is being begun
	opens    time.Time            // when its primary takes writes
	handed   time.Time            // when was handed over last

	mu       sync.Mutex
	managers []Manager // nil: not known yet
	named    string    // the image that was looked up last
	image    string
	seen     Seen
	problem  string // of the services
}

// New returns the controller, made anew for each time that this manager leads.
func New(store Store, cluster Cluster, log *slog.Logger) *Controller {
	return &Controller{
		store:    store,
		cluster:  cluster,
		log:      log,
		clients:  map[Engine]*redis.Client{},
		answered: map[Engine]time.Time{},
	}
}

// Seen returns what was seen last, and why the services can't be made; "" if they can.
func (c *Controller) Seen() (Seen, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.problem
}

// Run decides until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var placing sync.WaitGroup
	placing.Go(func() { c.keepPlaces(ctx) })
	defer func() {
		placing.Wait()
		for _, client := range c.clients {
			client.Close()
		}
	}()
	said := ""
	for {
		err := c.round(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			c.log.Warn("failed to keep the queue's Valkey as it should be; it is tried again", "error", err)
		}
		if clock.Sleep(ctx, lookEvery) != nil {
			return nil
		}
	}
}

// keepPlaces keeps the services, which may take long: nothing else waits for it.
func (c *Controller) keepPlaces(ctx context.Context) {
	for {
		err := c.keepServices(ctx)
		c.mu.Lock()
		c.problem = ""
		if err != nil {
			c.problem = err.Error()
		}
		c.mu.Unlock()
		if clock.Sleep(ctx, placeEvery) != nil {
			return
		}
	}
}

// keepServices looks where the engines are to be, and has the services run as the document says.
func (c *Controller) keepServices(ctx context.Context) error {
	d, err := Load(c.store)
	if err != nil {
		return err
	}
	if d.Wanted == (Wanted{}) {
		if d.Change == 0 {
			return nil
		}
		return c.cluster.Run(ctx, d)
	}
	managers, err := c.cluster.Managers(ctx)
	if err != nil {
		return fmt.Errorf("look up the managers: %w", err)
	}
	for i, m := range managers {
		if m.Addr.Port() == 0 {
			managers[i].Addr = netip.AddrPortFrom(m.Addr.Addr(), d.Wanted.Port)
		}
	}
	named, image := d.Named, d.Image
	if named != d.Wanted.Image {
		named = d.Wanted.Image
		image, err = c.cluster.Image(ctx, named)
	}
	c.mu.Lock()
	c.managers = managers
	if err == nil {
		c.named, c.image = named, image
	}
	c.mu.Unlock()
	if d.Primary == 0 {
		return err
	}
	return errors.Join(err, c.cluster.Run(ctx, d)) // without the image what runs goes on
}

// round looks, decides and tells once.
func (c *Controller) round(ctx context.Context) error {
	d, err := Load(c.store)
	if err != nil {
		return err
	}
	c.mu.Lock()
	managers, named, image := c.managers, c.named, c.image
	c.mu.Unlock()
	if d.Wanted == (Wanted{}) {
		return nil
	}
	if managers != nil && named == d.Wanted.Image {
		if d, err = c.place(d, managers, named, image); err != nil {
			return err
		}
	}
	seen := c.look(ctx, d, managers)
	next, why := Decide(d, seen)
	if why != "" {
		if next, err = save(c.store, d, next, "queue: "+why); err != nil {
			return err
		}
		c.log.Info("changed where the queue is", "why", why, "primary", next.Primary, "epoch", next.Epoch, "replica",
			next.InSync)
		d = next
	}
	if handsOver(d, managers, time.Since(c.handed) < handOverAgain) {
		c.handed = time.Now()
		return c.handOver(ctx, d)
	}
	err = c.shape(ctx, d, seen)
	if c.Tell != nil && d.Primary != 0 {
		err = errors.Join(err, c.Tell(d))
	}
	return err
}

// place changes the engines to those that there are to be.
func (c *Controller) place(d Document, managers []Manager, named, image string) (Document, error) {
	next := d
	next.Named, next.Image = named, image
	next.Engines = Place(next, managers)
	if len(next.Engines) == 0 {
		return d, errors.New("there is no manager that the queue's Valkey can run on: " +
			"`crawlbox node availability` makes one that is drained active again")
	}
	next.Fronts = next.Fronts || d.Primary == 0
	if _, kept := next.At(d.Primary); !kept { // it is new, or the only one, and gone with its node
		next.Primary, next.Epoch, next.Begun = next.Engines[0].Slot, d.Epoch+1, false
	}
	switch same := slices.Equal(d.Engines, next.Engines); {
	case same && next.Named == d.Named:
		return d, nil
	case !same:
		next.Generation++
		next.Fenced, next.InSync = false, false
	}
	return save(c.store, d, next, "queue: place Valkey")
}

// look looks at all engines at once.
func (c *Controller) look(ctx context.Context, d Document, managers []Manager) Seen {
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen, begun := Seen{}, time.Now()
	for _, e := range d.Engines {
		if c.clients[e] == nil {
			c.clients[e] = d.Open(e)
		}
		client := c.clients[e]
		wg.Go(func() {
			o, err := observe(ctx, client, d)
			mu.Lock()
			defer mu.Unlock()
			if err == nil || c.answered[e].IsZero() {
				c.answered[e] = begun
			}
			if err != nil {
				o = Observed{Lost: max(time.Since(c.answered[e]), 1), Problem: err.Error()}
			}
			seen[e.Slot] = o
		})
	}
	wg.Wait()
	for e, client := range c.clients {
		if is, ok := d.At(e.Slot); !ok || is != e {
			client.Close()
			delete(c.clients, e)
			delete(c.answered, e)
		}
	}
	for _, e := range d.Engines {
		o, on := seen[e.Slot], func(m Manager) bool { return m.Node == e.Node }
		if o.Lost > 0 && managers != nil && !slices.ContainsFunc(managers, on) {
			o.Gone = true
			seen[e.Slot] = o
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = seen
	return seen
}

// shape tells each engine what it is to be.
func (c *Controller) shape(ctx context.Context, d Document, seen Seen) error {
	p, _ := d.primary()
	var errs []error
	for _, e := range d.Engines {
		o := seen[e.Slot]
		if o.Lost > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		s := shaper{c.clients[e], e, d, o}
		var err error
		if e == p {
			err = c.begin(ctx, s)
		} else {
			err = s.follow(ctx, p)
		}
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("tell the queue's Valkey on %s: %w", e.Name, err))
		}
	}
	return errors.Join(errs...)
}

// begin has the primary lead: after a while where another may have led before.
func (c *Controller) begin(ctx context.Context, s shaper) error {
	if s.o.blank(s.d) {
		if _, r := s.d.primary(); r != nil {
			return errors.New("it has none of the queue's items: its volume is gone or is another; start the other " +
				"manager that has them, or remove that with `crawlbox node rm`")
		}
	}
	leads := !s.o.Replica && (s.o.Epoch == s.d.Epoch || s.o.Configured)
	switch {
	case leads, s.d.Epoch == 1:
	case c.opened != s.d.Epoch:
		if err := s.hold(ctx, fenceTime); err != nil {
			return err
		}
		c.opened, c.opens = s.d.Epoch, time.Now().Add(fenceTime)
		return nil
	case time.Now().Before(c.opens):
		return nil
	}
	if err := s.admit(ctx); err != nil {
		return err
	}
	return s.lead(ctx)
}

// handOver makes the replica the primary without a loss: writes wait meanwhile.
func (c *Controller) handOver(ctx context.Context, d Document) error {
	p, r := d.primary()
	from, to := c.clients[p], c.clients[*r]
	ctx, cancel := context.WithTimeout(ctx, 2*handOverTime)
	defer cancel()
	was, is, err := drained(ctx, from, to, d)
	var next Document
	if err == nil {
		next, err = save(c.store, d, d.promote(*r), "queue: hand Valkey over")
	}
	if err != nil {
		_ = from.Do(context.WithoutCancel(ctx), "CLIENT", "UNPAUSE").Err()
		return fmt.Errorf("hand the queue over from %s to %s: %w", p.Name, r.Name, err)
	}
	c.log.Info("the queue is handed over", "from", p.Name, "to", r.Name, "epoch", next.Epoch)
	// It refuses writes once it follows, so nothing has to be waited for.
	if err := (shaper{from, p, next, was}).follow(ctx, *r); err != nil {
		return err
	}
	if err := (shaper{to, *r, next, is}).hold(ctx, time.Millisecond); err != nil {
		return err
	}
	c.opened, c.opens = next.Epoch, time.Now()
	return nil
}

// drained has a primary hold writes until its replica has all.
func drained(ctx context.Context, from, to *redis.Client, d Document) (was, is Observed, err error) {
	begun := time.Now()
	if err := from.Do(ctx, "CLIENT", "PAUSE", held.Milliseconds(), "WRITE").Err(); err != nil {
		return was, is, err
	}
	for time.Since(begun) < handOverTime {
		if was, err = observe(ctx, from, d); err != nil {
			return was, is, err
		}
		if is, err = observe(ctx, to, d); err != nil || is.Linked && is.Offset >= was.Offset {
			return was, is, err
		}
		if err := clock.Sleep(ctx, guardEvery/10); err != nil {
			return was, is, err
		}
	}
	return was, is, errors.New("the replica did not get all of it in time")
}
