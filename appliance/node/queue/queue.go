// Package queue puts the parts of the cluster's queue together on the manager that is its home: the one that
// made the cluster. Package node knows nothing of them but that they are there, or not.
//
// How services reach the queue is in the cluster's state, so that any manager can tell them. The queue itself
// stays at its home until it is kept on several managers.
package queue

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/holder"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
)

// Queue is the queue of the cluster, or that there is none. It runs in a process of its own.
type Queue struct {
	Parts   []lifecycle.Part
	Answers []agent.Handler          // to other managers
	Queues  api.Queues               // answers for it
	Reports []control.Report         // that the status has of it
	Told    func() servicespec.Queue // to services
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
		Renew:  func() {},
		Close:  func() {},
	}
}

// Document keeps how services reach the queue. *state.Document is one.
type Document interface {
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// reached is what the document has.
type reached struct {
	URL string `json:"url,omitempty"`
	CA  string `json:"ca,omitempty"`
}

// Away is one whose home is another manager: its services are told of it as the state says, and this one keeps a copy
// of it. why answers calls.
func Away(o Options, why control.NoQueue) Queue {
	q, doc := none(why), o.Authority.Queue()
	q.Answers = (&standby.Keeper{Config: o.Config, Log: o.Log}).Handlers()
	q.Told = func() servicespec.Queue {
		var r reached
		if data, err := doc.Load(); err == nil {
			_ = json.Unmarshal(data, &r) // as if there was none
		}
		return servicespec.Queue{URL: r.URL, CA: r.CA}
	}
	return q
}

// publish has other managers know how services reach a queue, empty where there is none.
func publish(doc Document, told servicespec.Queue) error {
	_, err := doc.Load()
	if told.URL == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data, err := json.Marshal(reached{told.URL, told.CA})
	if err != nil {
		return err
	}
	return doc.Update("say how services reach the queue", func([]byte) ([]byte, error) { return data, nil })
}

// retry is how long a publishing waits that follows a failed one, as where too few managers run.
const retry = 5 * time.Second

// publishing is the part of the home that publishes.
func publishing(doc Document, told servicespec.Queue, log *slog.Logger) lifecycle.Part {
	return lifecycle.Background("address of the queue", func(ctx context.Context) error {
		for {
			err := publish(doc, told)
			if err == nil {
				<-ctx.Done()
				return nil
			}
			log.Debug("failed to tell other managers how services reach the queue", "error", err)
			if clock.Sleep(ctx, retry) != nil {
				return nil
			}
		}
	})
}

// Options are what a queue is made with.
type Options struct {
	Config    configs.Config
	Engine    *swarm.Engine
	Listeners []net.Listener
	Addr      netip.Addr // that others reach it at
	Authority *authority.Authority
	Client    func() *http.Client // speaks to managers
	Log       *slog.Logger
}

// New makes the queue, where the config turns it on.
func New(o Options) (Queue, error) {
	c := o.Config.Queue
	if c == nil {
		off := Off(o.Config.File)
		off.Parts = []lifecycle.Part{publishing(o.Authority.Queue(), off.Told(), o.Log)}
		return off, nil
	}
	password, err := queueproc.Password(*c, filepath.Join(o.Config.DataDir, "queue.password"))
	if err != nil {
		return Off(""), err
	}
	engine, err := engineOf(*c)
	if err != nil {
		return Off(""), err
	}
	var parts []lifecycle.Part
	self, err := o.Engine.Info(context.Background()) // it has a bound of its own
	if err != nil {
		return Off(""), err
	}
	opts := queueproc.Options{
		Engine:    engine,
		Listeners: o.Listeners,
		Password:  password,
		Dir:       o.Config.QueueDir(),
		MaxMemory: int64(c.MaxMemory),
	}
	nodes := &upNodes{engine: o.Engine}
	if opts.Leases = queueproc.LeasesOf(*c, self.NodeID); opts.Leases != nil {
		holders := holder.New(containers.New(o.Engine.Client()), o.Log)
		parts = append(parts, lifecycle.Background("containers", holders.Run))
		opts.Holders = holders.Serve
	}
	ca, secured := "", (*tls.Config)(nil)
	if c.TLS {
		ca, secured = string(o.Authority.CA.PEM()), o.Authority.Identity.TrustingCA(o.Addr.String())
		// The node's own key is not for a process that parses strangers' bytes.
		opts.TLS = func() (queueproc.KeyPair, error) {
			cert, key, err := o.Authority.CA.IssueServer(o.Authority.Identity, home.Before(o.Config.DataDir)...)
			return queueproc.KeyPair{Certificate: cert, Key: key}, err
		}
	}
	supervisor, err := queueproc.New(opts, o.Log)
	if err != nil {
		return Off(""), err
	}
	if opts.Leases != nil {
		parts = append(parts, lifecycle.Background("nodes that hold items", func(ctx context.Context) error {
			return nodes.tell(ctx, supervisor.Up)
		}))
	}
	client := queueproc.NewClient(netip.AddrPortFrom(doctor.BindAddr(o.Addr), c.Port), password, secured)
	queues := control.NewQueues(*c, client, supervisor.State, netip.AddrPortFrom(o.Addr, c.Port).String())
	queues.NodeName = nodes.name
	if engine != nil {
		queues.Engine = engine.Name
	}
	told := servicespec.Queue{URL: queues.URL(), CA: ca}
	copies := o.copies(supervisor.State)
	return Queue{
		Parts: append(parts, lifecycle.Part{Name: "queue", Component: supervisor},
			publishing(o.Authority.Queue(), told, o.Log), lifecycle.Background("copies of the queue", copies.Keep)),
		Queues:  queues,
		Reports: []control.Report{queues.Report, control.PartReport(api.Warning, api.QueueCopy, copies.Problem)},
		Told:    func() servicespec.Queue { return told },
		Outages: supervisor.Outages,
		Renew:   supervisor.Renew,
		Close:   func() { client.Close() },
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
		Others: func() (list []standby.Manager) {
			for _, m := range o.Authority.OtherManagers() {
				list = append(list, standby.Manager{Name: m.Name, Addr: m.Addr})
			}
			return list
		},
		Client: o.Client,
		Log:    o.Log,
	}
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
