package node

import (
	"context"
	"crypto/tls"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// queue is the queue of the cluster, or that there is none. It runs in a process of its own.
type queue struct {
	parts   []lifecycle.Part
	queues  api.Queues        // answers for it
	reports []control.Report  // that the status has of it
	told    servicespec.Queue // to services
	outages func() []fleet.Outage
	renew   func() // its certificate
	close   func()
}

func (q queue) area() (api.Queues, []control.Report) { return q.queues, q.reports }

// noQueue is one that the config file turns off.
func noQueue(file string) queue {
	return queue{queues: control.QueueIsOff(file), renew: func() {}, close: func() {}}
}

// newQueue makes the queue, where the config turns it on.
func (p *primary) newQueue() (queue, error) {
	c := p.cfg.Queue
	if c == nil {
		return noQueue(p.cfg.File), nil
	}
	password, err := queueproc.Password(*c, p.dir("queue.password"))
	if err != nil {
		return noQueue(""), err
	}
	opts := queueproc.Options{
		Listeners: p.ports.Queue,
		Password:  password,
		Dir:       p.cfg.QueueDir(),
		MaxMemory: int64(c.MaxMemory),
	}
	ca, secured := "", (*tls.Config)(nil)
	if c.TLS {
		ca, secured = string(p.authority.CA.PEM()), p.identity.TrustingCA(p.addr.String())
		opts.TLS = p.queueCertificate
	}
	supervisor, err := queueproc.New(opts, p.log)
	if err != nil {
		return noQueue(""), err
	}
	client := queueproc.NewClient(netip.AddrPortFrom(doctor.BindAddr(p.addr), c.Port), password, secured)
	queues := control.NewQueues(client, supervisor.State, netip.AddrPortFrom(p.addr, c.Port).String(), c.TLS)
	return queue{
		parts:   []lifecycle.Part{{Name: "queue", Component: supervisor}},
		queues:  queues,
		reports: []control.Report{queues.Report},
		told:    servicespec.Queue{URL: queues.URL(), CA: ca},
		outages: supervisor.Outages,
		renew:   supervisor.Renew,
		close:   func() { client.Close() },
	}, nil
}

// queueFor returns what a service of an image is told of the queue.
func (p *primary) queueFor(ctx context.Context, pinned string) servicespec.Queue {
	return p.queue.told.In(image.Environment(ctx, p.registry.Handler(), pinned))
}

// queueCertificate issues what the queue shows to its clients: the node's own key is
// not for a process that parses strangers' bytes.
func (p *primary) queueCertificate() (queueproc.KeyPair, error) {
	cert, key, err := p.authority.CA.IssueServer(p.identity)
	return queueproc.KeyPair{Certificate: cert, Key: key}, err
}
