// Package queue puts the parts of the cluster's queue together on the manager that has it. Package node knows
// nothing of them but that they are there, or not.
package queue

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
)

// Queue is the queue of the cluster, or that there is none. It runs in a process of its own.
type Queue struct {
	Parts   []lifecycle.Part
	Queues  api.Queues        // answers for it
	Reports []control.Report  // that the status has of it
	Told    servicespec.Queue // to services
	Outages func() []fleet.Outage
	Renew   func() // its certificate
	Close   func()
}

// Off is one that the config file turns off.
func Off(file string) Queue {
	return Queue{Queues: control.QueueIsOff(file), Renew: func() {}, Close: func() {}}
}

// Options are what a queue is made with.
type Options struct {
	Config    configs.Config
	Listeners []net.Listener
	Addr      netip.Addr // that others reach it at
	CA        *pki.CA
	Identity  *pki.Identity
	Log       *slog.Logger
}

// New makes the queue, where the config turns it on.
func New(o Options) (Queue, error) {
	c := o.Config.Queue
	if c == nil {
		return Off(o.Config.File), nil
	}
	password, err := queueproc.Password(*c, filepath.Join(o.Config.DataDir, "queue.password"))
	if err != nil {
		return Off(""), err
	}
	opts := queueproc.Options{
		Listeners: o.Listeners,
		Password:  password,
		Dir:       o.Config.QueueDir(),
		MaxMemory: int64(c.MaxMemory),
	}
	ca, secured := "", (*tls.Config)(nil)
	if c.TLS {
		ca, secured = string(o.CA.PEM()), o.Identity.TrustingCA(o.Addr.String())
		// The node's own key is not for a process that parses strangers' bytes.
		opts.TLS = func() (queueproc.KeyPair, error) {
			cert, key, err := o.CA.IssueServer(o.Identity)
			return queueproc.KeyPair{Certificate: cert, Key: key}, err
		}
	}
	supervisor, err := queueproc.New(opts, o.Log)
	if err != nil {
		return Off(""), err
	}
	client := queueproc.NewClient(netip.AddrPortFrom(doctor.BindAddr(o.Addr), c.Port), password, secured)
	queues := control.NewQueues(client, supervisor.State, netip.AddrPortFrom(o.Addr, c.Port).String(), c.TLS)
	return Queue{
		Parts:   []lifecycle.Part{{Name: "queue", Component: supervisor}},
		Queues:  queues,
		Reports: []control.Report{queues.Report},
		Told:    servicespec.Queue{URL: queues.URL(), CA: ca},
		Outages: supervisor.Outages,
		Renew:   supervisor.Renew,
		Close:   func() { client.Close() },
	}, nil
}

// For returns what a service of an image in a registry is told of the queue.
func (q Queue) For(registry http.Handler) func(ctx context.Context, pinned string) servicespec.Queue {
	return func(ctx context.Context, pinned string) servicespec.Queue {
		return q.Told.In(image.Environment(ctx, registry, pinned))
	}
}
