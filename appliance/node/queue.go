package node

import (
	"context"
	"crypto/tls"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// queue is the queue of the cluster, or that there is none.
type queue interface {
	parts() []lifecycle.Part
	// area answers for it, and reports are what the status has of it.
	area() (queues api.Queues, reports []control.Report)
	told() servicespec.Queue // to services
	renew()                  // its certificate
	close()
}

// newQueue makes the queue, where the config turns it on.
func (p *primary) newQueue() (queue, error) {
	c := p.cfg.Queue
	if c == nil {
		return noQueue{p.cfg.File}, nil
	}
	password, err := queueproc.Password(*c, p.dir("queue.password"))
	if err != nil {
		return noQueue{}, err
	}
	opts := queueproc.Options{
		Listener:  p.ports.Queue,
		Password:  password,
		Dir:       p.cfg.QueueDir(),
		MaxMemory: int64(c.MaxMemory),
	}
	var secured *tls.Config
	if c.TLS {
		opts.TLS, secured = p.queueCertificate, p.identity.TrustingCA(p.addr.String())
	}
	supervisor, err := queueproc.New(opts, p.log)
	if err != nil {
		return noQueue{}, err
	}
	addr := netip.AddrPortFrom(p.addr, c.Port).String()
	client := queueproc.NewClient(netip.AddrPortFrom(doctor.BindAddr(p.addr), c.Port), password, secured)
	ca := ""
	if c.TLS {
		ca = string(p.authority.CA.PEM())
	}
	return ownQueue{supervisor, client, control.NewQueues(client, supervisor.State, addr, c.TLS), ca}, nil
}

// queueFor returns what a service of an image is told of the queue.
func (p *primary) queueFor(ctx context.Context, pinned string) servicespec.Queue {
	q := p.queue.told()
	q.Image = image.Environment(ctx, p.registry.Handler(), pinned)
	return q
}

// queueProblems returns which services know the queue as it was before its address or
// password changed.
func (p *primary) queueProblems(snap fleet.Snapshot) []string {
	return control.QueueChanged(snap, p.queue.told().Mark())
}

// queueCertificate issues what the queue shows to its clients: the node's own key is
// not for a process that parses strangers' bytes.
func (p *primary) queueCertificate() (queueproc.KeyPair, error) {
	cert, key, err := p.authority.CA.IssueServer(p.identity)
	return queueproc.KeyPair{Certificate: cert, Key: key}, err
}

// ownQueue runs in a process of its own on this node.
type ownQueue struct {
	supervisor *queueproc.Supervisor
	client     *redis.Client
	queues     *control.Queues
	ca         string // of its certificate, if it has one
}

func (q ownQueue) parts() []lifecycle.Part {
	return []lifecycle.Part{{Name: "queue", Component: q.supervisor}}
}

func (q ownQueue) area() (api.Queues, []control.Report) {
	return q.queues, []control.Report{q.queues.Report}
}

func (q ownQueue) told() servicespec.Queue { return servicespec.Queue{URL: q.queues.URL(), CA: q.ca} }

func (q ownQueue) renew() { q.supervisor.Renew() }
func (q ownQueue) close() { q.client.Close() }

// noQueue is one that the config file turns off.
type noQueue struct{ file string }

func (q noQueue) parts() []lifecycle.Part              { return nil }
func (q noQueue) area() (api.Queues, []control.Report) { return control.QueueIsOff(q.file), nil }
func (q noQueue) told() servicespec.Queue              { return servicespec.Queue{} }
func (q noQueue) renew()                               {}
func (q noQueue) close()                               {}
