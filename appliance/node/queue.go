package node

import (
	"crypto/tls"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// queue is the queue of the cluster, or that there is none.
type queue interface {
	parts() []lifecycle.Part
	// area answers for it, and reports are what the status has of it.
	area() (queues api.Queues, reports []control.Report)
	renew() // its certificate
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
	return ownQueue{supervisor, client, control.NewQueues(client, supervisor.State, addr, c.TLS)}, nil
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
}

func (q ownQueue) parts() []lifecycle.Part {
	return []lifecycle.Part{{Name: "queue", Component: q.supervisor}}
}

func (q ownQueue) area() (api.Queues, []control.Report) {
	return q.queues, []control.Report{q.queues.Report}
}

func (q ownQueue) renew() { q.supervisor.Renew() }
func (q ownQueue) close() { q.client.Close() }

// noQueue is one that the config file turns off.
type noQueue struct{ file string }

func (q noQueue) parts() []lifecycle.Part              { return nil }
func (q noQueue) area() (api.Queues, []control.Report) { return control.QueueIsOff(q.file), nil }
func (q noQueue) renew()                               {}
func (q noQueue) close()                               {}
