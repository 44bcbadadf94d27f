// Package queue puts the parts of the cluster's queue together. Package node knows nothing of them but that they are
// there, or not.
//
//	program, container ──▶ 127.0.0.1, docker0 ── Front of its node ──▶ home: its address ── engine
//
// The queue is on the manager that is its home: the one that made the cluster, or that it was moved to. Every other
// node has a [Front] of it, at the addresses at which its own programs and containers look: so one URL is right on
// every node, and its clients follow a move without noticing.
//
// How the queue is reached is published in the cluster's state by the home, the password of the cluster with it, and
// comes to all nodes with the news of the cluster (enroll.Follow). So any manager can tell services, and a node that
// starts while no manager answers knows it still.
//
// Services are told the name [Host], which each of them has among its hosts, as its network wants it. Where a node has
// no front, as one of a version before, they are told the address of the home, which is right everywhere too but
// does not move.
package queue

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/holder"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/appliance/valkey"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Queue is the queue of the cluster, or that there is none. It runs in a process of its own.
type Queue struct {
	Parts   []lifecycle.Part
	Led     func(context.Context) error // beside what leads, on the manager that does
	Answers []agent.Handler             // to other managers
	Queues  api.Queues                  // answers for it
	Reports []control.Report            // that the status has of it
	Told    func() servicespec.Queue    // to services
	Marks   func() []string             // of services that know it; see fleet.LabelQueue
	Outages func() []fleet.Outage
	Renew   func() // its certificate
	Close   func()
}

// Off is one that the config file turns off.
func Off(file string) Queue { return none(control.QueueIsOff(file)) }

func none(why control.NoQueue) Queue {
	return Queue{
		Queues: why,
		Told:   func() servicespec.Queue { return servicespec.Queue{} },
		Marks:  func() []string { return []string{""} },
		Renew:  func() {},
		Close:  func() {},
		Led:    idle,
	}
}

// idle does nothing until ctx ends.
func idle(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Host is the name of the queue on every node, in what services are told.
const Host = servicespec.QueueHost

// Open makes the queue of a manager: that whose home it is, or one that is away; then why answers calls.
func Open(o Options, why func() error) (q Queue, err error) {
	if !o.Created {
		q = away(o, why)
	} else if q, err = here(o); err != nil {
		return q, err
	}
	q.Answers = append(q.Answers, home.Answer(o.Config, o.Addr, o.Engine.ClusterID, o.Again, o.Audit)...)
	return q, nil
}

// away is one whose home is another manager: its services are told of it as that publishes, and this one keeps a copy
// of it, and can become its home. Where its front gets to the items without the home, it answers calls by that, and
// else with why.
func away(o Options, why func() error) Queue {
	q := none(why)
	reader := backlog.New(func() backlog.Queue { return Reached(o.Authority.Queue()) })
	q.Queues = &control.Queues{NodeName: o.nodeName, Reach: func() (at control.Reached, err error) {
		p := load(o.Authority.Queue())
		if !p.apart() {
			return at, why()
		}
		at.Replicated = true
		at.Address.URL, at.Address.Password = p.here(), p.Front.Password
		if home := o.Authority.HomeOfQueue(); slices.ContainsFunc(o.Members(), func(m gossip.Member) bool {
			return m.Addr == home && m.State == gossip.Alive
		}) {
			at.Address.URL = p.URL // that is right outside of the cluster too
		}
		if to, err := url.Parse(at.Address.URL); err == nil {
			at.Address.Addr = to.Host
		}
		if at.Client, at.Leases, err = reader.Connect(); err == nil {
			err = control.Runs(o.Front.now())
		}
		return at, err
	}}
	q.Reports = []control.Report{o.row, control.DeadReport(func() (*leases.Leases, error) {
		if err := control.Runs(o.Front.now()); err != nil {
			return nil, err
		}
		_, l, err := reader.Connect()
		return l, err
	})}
	q.Close = reader.Close
	told := func() servicespec.Queue { return load(o.Authority.Queue()).services() }
	q.Told, q.Marks = tell(told, o.everywhere)
	q.Parts = []lifecycle.Part{o.Front.Part()}
	keeper := &standby.Keeper{
		Config:  o.Config,
		Addr:    o.Addr,
		Cluster: o.Engine.ClusterID,
		Again:   o.Again,
		Changed: func() {
			if err := o.Authority.Joins.Refresh(); err != nil {
				o.Log.Warn("failed to tell nodes where the queue is", "error", err)
			}
		},
		Audit: o.Audit,
		Log:   o.Log,
	}
	o.Authority.FollowHome(newer(o.Authority.Queue(), keeper.Told))
	leads := &standby.Leader{
		Keeper: keeper,
		Others: o.others,
		Home: func() netip.Addr {
			if !load(o.Authority.Queue()).Copied {
				return netip.Addr{}
			}
			return o.Authority.HomeOfQueue()
		},
		Nodes:  o.Engine.Nodes,
		Client: o.Client,
		Log:    o.Log,
	}
	q.Answers = keeper.Handlers()
	q.Led = leads.Run
	return q
}

// row reports a queue whose home is another manager.
func (o Options) row(_ context.Context, st *api.Status, _ *problems.Seen) {
	st.Queue = load(o.Authority.Queue()).row(o.Front.now(), o.nameAt(o.Authority.HomeOfQueue()))
}

// tell returns what services are told of a queue: by the name that is right on every node where all have a front, and
// else at its home's address. It returns what marks services that know it by either.
func tell(at func() servicespec.Queue, everywhere func() bool) (told func() servicespec.Queue, marks func() []string) {
	return func() servicespec.Queue {
			q := at()
			if q.URL == "" {
				return q
			}
			local := q.Local()
			q.Other, local.Other = local.URL, q.URL
			if !everywhere() {
				return q
			}
			return local
		}, func() []string {
			q := at()
			return []string{q.Mark(), q.Local().Mark()}
		}
}

// everywhere reports whether services on all nodes that are up reach the queue by its name: a node that does not say so
// is of a version before, or has no crawlbox.
func everywhere(nodes func(context.Context) ([]fleet.Node, error), members func() []gossip.Member) bool {
	ctx, cancel := context.WithTimeout(context.Background(), nodesPatience)
	defer cancel()
	all, err := nodes(ctx)
	here := map[string]bool{}
	for _, m := range members() {
		here[m.Swarm] = here[m.Swarm] || m.Queue == gossip.QueueHere && m.State == gossip.Alive
	}
	return err == nil && !slices.ContainsFunc(all, func(n fleet.Node) bool {
		return !n.Down && !here[n.ID]
	})
}

// nodesPatience is how long Swarm may take to list the nodes.
const nodesPatience = 3 * time.Second

// Options are what a queue is made with.
type Options struct {
	Created   bool // this machine is the queue's home
	Config    configs.Config
	Engine    *swarm.Engine
	Listeners []net.Listener
	Addr      netip.Addr // that others reach it at
	Authority *authority.Authority
	Client    func() *http.Client    // speaks to managers
	Members   func() []gossip.Member // that gossip knows
	Front     *Front                 // of a node that is not the home
	Again     func()                 // has the node begin anew
	Audit     func(event string, attrs ...slog.Attr)
	Log       *slog.Logger
}

// nodeName returns the name of a node, by the ID of its certificate.
func (o Options) nodeName(id string) string {
	for _, m := range o.Members() {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}

// nameAt returns the name of the node at an address.
func (o Options) nameAt(addr netip.Addr) string {
	for _, m := range o.Members() {
		if addr.IsValid() && m.Addr == addr {
			return m.Name
		}
	}
	return ""
}

func (o Options) everywhere() bool { return everywhere(o.Engine.Nodes, o.Members) }

// here makes the queue of its home, where the config turns it on.
func here(o Options) (Queue, error) {
	c := o.Config.Queue
	if c == nil {
		off := Off(o.Config.File)
		nothing := func() (published, error) { return published{}, nil }
		off.Parts = []lifecycle.Part{
			publishing(o.Authority.Queue(), nothing, nil, o.Log),
			wanting(o.Authority.Valkey(), configs.Queue{}, nil, func() {}, o.Log),
		}
		return off, nil
	}
	before := ""
	if p := load(o.Authority.Queue()); p.Front != nil {
		before = p.Front.Password // services know it
	}
	password, err := queueproc.Password(*c, filepath.Join(o.Config.DataDir, "queue.password"), before)
	if err != nil {
		return Off(""), err
	}
	engine, err := engineOf(*c)
	if err != nil {
		return Off(""), err
	}
	if c.Engine == configs.EngineValkey {
		engine = &queueproc.Engine{Name: "valkey"}
	}
	var parts []lifecycle.Part
	own := &bridged{ports: ports{log: o.Log}, port: c.Port}
	opts := queueproc.Options{
		Engine:    engine,
		Listeners: append(slices.Clone(o.Listeners), own.open()...),
		Password:  password,
		Dir:       o.Config.QueueDir(),
		MaxMemory: int64(c.MaxMemory),
	}
	self := o.Authority.Identity.Node.ID
	nodes := &upNodes{engine: o.Engine, self: self, members: o.Authority.MembersOf}
	if opts.Leases = queueproc.LeasesOf(*c, self); opts.Leases != nil {
		holders := holder.New(containers.New(o.Engine.Client()), o.Log)
		parts = append(parts, lifecycle.Background("containers", holders.Run))
		opts.Holders = holders.Serve
	}
	ca, secured := "", (*tls.Config)(nil)
	if c.TLS {
		ca, secured = string(o.Authority.CA.PEM()), o.Authority.Identity.TrustingCA(o.Addr.String())
		// The node's own key is not for a process that parses strangers' bytes.
		opts.TLS = func() (queueproc.KeyPair, error) {
			before := home.Before(o.Config.DataDir)
			cert, key, err := o.Authority.CA.IssueServer(o.Authority.Identity, []string{Host}, before...)
			return queueproc.KeyPair{Certificate: cert, Key: key}, err
		}
	}
	supervisor, err := queueproc.New(opts, o.Log)
	if err != nil {
		own.ports.close()
		return Off(""), err
	}
	if opts.Leases != nil {
		parts = append(parts, lifecycle.Background("nodes that hold items", func(ctx context.Context) error {
			return nodes.tell(ctx, supervisor.Up)
		}))
	}
	own.listen = supervisor.Listen
	client := queueproc.NewClient(netip.AddrPortFrom(doctor.BindAddr(o.Addr), c.Port), password, secured)
	queues := control.NewQueues(*c, client, supervisor.State, netip.AddrPortFrom(o.Addr, c.Port).String())
	queues.NodeName = nodes.name
	if engine != nil {
		queues.Engine = engine.Name
	}
	front := front{Port: c.Port, Password: password, Leases: opts.Leases, Engine: queueproc.Engine{
		Name:     homeName(queues.Addr()),
		Addr:     queues.Addr(),
		CA:       ca,
		Password: password,
		Front:    true,
	}}
	if engine != nil {
		front.Engine.DB = engine.DB
	}
	if c.TLS {
		front.Engine.Host = o.Addr.String()
	}
	d, err := valkey.Load(o.Authority.Valkey())
	if err == nil && c.Engine == configs.EngineValkey && d.Primary != 0 {
		front.Engine = engineIn(d)
	}
	p := &publisher{
		told: published{
			URL:    queues.URL(),
			CA:     ca,
			Front:  &front,
			Engine: queues.Engine,
			Copied: c.Engine == configs.EngineEmbedded,
			Number: home.Number(o.Config.DataDir),
		},
		ca:    o.Authority.CA,
		doc:   o.Authority.Queue(),
		again: make(chan struct{}, 1),
		log:   o.Log,
	}
	told, marks := tell(func() servicespec.Queue { return p.told.services() }, o.everywhere)
	copies := o.copies(supervisor.State)
	// The queue waits for it: it comes first.
	fence := lifecycle.Background("lease of the queue", func(ctx context.Context) error {
		return copies.Fence(ctx, supervisor)
	})
	if copies.Guarded() {
		supervisor.Hold(standby.Held)
	}
	return Queue{
		Parts: append(append(parts, fence),
			lifecycle.Part{Name: "queue", Component: copies.Before(supervisor)}, own.part(), p.part(),
			lifecycle.Background("copies of the queue", copies.Keep),
			wanting(o.Authority.Valkey(), *c, supervisor, p.renew, o.Log)),
		Queues: queues,
		Reports: []control.Report{
			queues.Report,
			control.DeadReport(func() (*leases.Leases, error) {
				at, err := queues.Reach()
				return at.Leases, err
			}),
			control.PartReport(api.Warning, api.QueueFront, own.unserved),
			control.PartReport(api.Warning, api.QueueCopy, copies.Problem),
			control.PartReport(api.Warning, api.QueueTaken, func() string { return standby.Said(o.Config.DataDir) }),
		},
		Told:    told,
		Marks:   marks,
		Answers: copies.Handlers(),
		Led:     idle,
		Outages: supervisor.Outages,
		Renew:   func() { supervisor.Renew(); p.renew() },
		Close:   func() { client.Close(); own.ports.close() },
	}, nil
}

// copies returns what brings other managers copies of a queue.
func (o Options) copies(state func() queueproc.State) *standby.Home {
	begun := time.Now().UnixNano()
	return &standby.Home{
		Config: o.Config,
		Name:   o.Authority.Identity.Self.Name,
		Run: func() string {
			is := state()
			if !is.Serving {
				return ""
			}
			return fmt.Sprintf("%d-%d", begun, is.PID)
		},
		Addr: o.Addr,
		Others: func() []standby.Manager {
			if o.Config.Queue.Engine != configs.EngineEmbedded {
				return nil // the items are elsewhere, and so are copies of them
			}
			return o.others()
		},
		Client: o.Client,
		Log:    o.Log,
	}
}

// others returns the other managers that have the cluster's state.
func (o Options) others() (list []standby.Manager) {
	for _, m := range o.Authority.OtherManagers() {
		list = append(list, standby.Manager{Name: m.Name, Addr: m.Addr})
	}
	return list
}

// bridged is the port of the home where containers of its own machine look for it. Where Docker makes its network
// later than crawlbox begins, it is opened then.
type bridged struct {
	ports
	port   uint16
	listen func(net.Listener) error
}

func (b *bridged) open() []net.Listener { return b.ports.open(b.port, bridgeAddrs()...) }

func (b *bridged) part() lifecycle.Part {
	return lifecycle.Background("queue for containers here", func(ctx context.Context) error {
		for clock.Sleep(ctx, retry) == nil {
			for _, ln := range b.open() {
				if err := b.listen(ln); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// engineOf returns the server that the config names to keep the items, nil where crawlbox does.
func engineOf(q configs.Queue) (*queueproc.Engine, error) {
	server, err := q.Server()
	if server == nil || err != nil {
		return nil, err
	}
	engine := &queueproc.Engine{
		Name:     server.String(),
		Addr:     server.Addr,
		User:     server.User,
		Password: server.Password,
		DB:       server.DB,
		CA:       server.CA,
		Setting:  "queue.url",
	}
	if q.URLFile != "" {
		engine.Setting = "queue.url_file"
	}
	if server.TLS {
		engine.Host, _, _ = net.SplitHostPort(server.Addr)
	}
	return engine, nil
}

// For returns what a service of an image in a registry is told of the queue.
func (q Queue) For(registry http.Handler) func(ctx context.Context, pinned string) servicespec.Queue {
	return func(ctx context.Context, pinned string) servicespec.Queue {
		return q.Told().In(image.Environment(ctx, registry, pinned))
	}
}
