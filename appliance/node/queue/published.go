package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
)

// Document keeps how services and nodes reach the queue. *state.Document is one.
type Document interface {
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// published is what the document has.
type published struct {
	URL string `json:"url,omitempty"` // at the address of the home; empty: there is no queue
	CA  string `json:"ca,omitempty"`
	// Front is nil where the home is of a version before nodes had fronts.
	Front *front `json:"front,omitempty"`
	// Engine is what keeps the items, for people; empty: crawlbox does, or the home is of a version before.
	Engine string `json:"engine,omitempty"`
	// Copied is set where the home keeps the items itself, and other managers copies of them.
	Copied bool `json:"copied,omitempty"`
	// Number is that of the home.
	Number int `json:"number,omitempty"`
}

// at returns what is published once the home has another address.
func (p published) at(addr netip.Addr) published {
	to := netip.AddrPortFrom(addr, p.Front.Port).String()
	if u, err := url.Parse(p.URL); err == nil {
		u.Host = to
		p.URL = u.String()
	}
	front := *p.Front
	front.Engine.Name, front.Engine.Addr = homeName(to), to
	if front.Engine.Host != "" {
		front.Engine.Host = addr.String()
	}
	p.Front = &front
	return p
}

// homeName is what people are told of the engine that is the home at an address.
func homeName(addr string) string { return "its home " + addr }

// newer returns what is known of a queue whose home another manager has become, before that could be published; told
// returns the number and the address of the home that was told last that it is one.
func newer(doc Document, told func() (number int, addr netip.Addr)) authority.Newer {
	is := func(p published) (addr netip.Addr) {
		if n, addr := told(); p.Copied && p.Front != nil && n > p.Number {
			return addr
		}
		return addr
	}
	return authority.Newer{
		Home: func() netip.Addr { return is(load(doc)) },
		Tell: func(data []byte) []byte {
			p, err := parse(data)
			addr := is(p)
			if err != nil || !addr.IsValid() {
				return data
			}
			told, err := json.Marshal(p.at(addr))
			if err != nil {
				return data
			}
			return told
		},
	}
}

// front is what the front of each node is made of.
type front struct {
	Port     uint16            `json:"port"`             // that it listens on
	Password string            `json:"password"`         // that clients give
	Engine   queueproc.Engine  `json:"engine"`           // that they get to
	Leases   *queueproc.Leases `json:"leases,omitempty"` // but for the node's ID
	TLS      *keyPair          `json:"tls,omitempty"`
}

// keyPair is a queueproc.KeyPair whose key `crawlbox state show` hides.
type keyPair struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"private_key"`
}

// parse reads a document, which may be anybody's.
func parse(data []byte) (p published, err error) {
	if len(data) == 0 { // nobody has said anything yet
		return p, nil
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return published{}, fmt.Errorf("read how the queue is reached: %w", err)
	}
	f := p.Front
	if f == nil {
		return p, nil
	}
	_, _, err = net.SplitHostPort(f.Engine.Addr)
	if err != nil || f.Port == 0 || f.Password == "" || p.URL == "" {
		return published{}, errors.New("read how the queue is reached: it has no address, port or password")
	}
	return p, nil
}

// load returns what a document has; nothing where it can't be read.
func load(doc Document) published {
	data, err := doc.Load()
	if err != nil {
		return published{}
	}
	p, _ := parse(data)
	return p
}

// services returns what services are told of the queue at its home's address.
func (p published) services() servicespec.Queue { return servicespec.Queue{URL: p.URL, CA: p.CA} }

// row returns what the status of a manager that is not the home has of the queue, by its front; nil: there is none.
func (p published) row(is queueproc.State, home string) *api.Queue {
	to, err := url.Parse(p.URL)
	if err != nil || p.URL == "" || p.Front == nil {
		return nil
	}
	engine := p.Engine
	if engine == "" && p.apart() {
		engine = configs.EngineValkey
	}
	return control.QueueRow(is, to.Host, engine, home)
}

// PortHere returns where the front of a node listens on loopback, and whether it speaks TLS, by what the node was told;
// 0: there is no queue.
func PortHere(told []byte) (port uint16, secured bool) {
	p, err := parse(told)
	if err != nil || p.URL == "" || p.Front == nil {
		return 0, false
	}
	return p.Front.Port, p.CA != ""
}

// apart reports whether the front of each node gets to the items without the home, which may be away.
func (p published) apart() bool { return p.Front != nil && !p.Front.Engine.Front }

// Apart reports whether managers get to the queue's items without its home.
func Apart(doc Document) bool { return load(doc).apart() }

// here returns the URL of the front of the machine that asks.
func (p published) here() string {
	at := url.URL{
		Scheme: "redis",
		User:   url.UserPassword("default", p.Front.Password),
		Host:   netip.AddrPortFrom(doctor.Loopback, p.Front.Port).String(),
	}
	if p.CA != "" {
		at.Scheme = "rediss"
	}
	return at.String()
}

// Reached returns where a manager reads the queue of the cluster, wherever its home is, and which of its keys are safe.
func Reached(doc Document) backlog.Queue {
	p := load(doc)
	q := backlog.Queue{URL: p.URL, CA: p.CA}
	if p.apart() {
		q.URL = p.here()
	}
	if p.Front != nil && p.Front.Leases != nil {
		q.Safe, q.Window = p.Front.Leases.Rules.Safe, p.Front.Leases.Rules.Window
	}
	return q
}

// publish has other managers and all nodes know how a queue is reached, empty where there is none.
func publish(doc Document, p published) error {
	_, err := doc.Load()
	if p.URL == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return doc.Update("say how the queue is reached", func([]byte) ([]byte, error) { return data, nil })
}

// retry is how long a publishing waits that follows a failed one, as where too few managers run.
const retry = 5 * time.Second

// publisher is what the home publishes with.
type publisher struct {
	told  published
	ca    *pki.CA // that signs the certificate of all fronts, where the queue speaks TLS
	doc   Document
	again chan struct{}
	log   *slog.Logger
}

// renew has it publish another certificate. It does not block.
func (p *publisher) renew() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// part publishes at first, and again with another certificate when it is to be renewed. That is of the name and of
// loopback alone, so all fronts have one key: where it is of use to a thief, he is on the machine already.
func (p *publisher) part() lifecycle.Part {
	what := func() (published, error) { return p.told, nil }
	if p.told.CA != "" {
		what = func() (published, error) {
			told, front := p.told, *p.told.Front
			cert, key, err := p.ca.IssueLocal(Host)
			front.TLS = &keyPair{Certificate: cert, Key: key}
			told.Front = &front
			return told, err
		}
	}
	return publishing(p.doc, what, p.again, p.log)
}

// publishing is the part of the home that publishes: at first, and again when it is told to.
func publishing(doc Document, what func() (published, error), again <-chan struct{}, log *slog.Logger) lifecycle.Part {
	return lifecycle.Background("address of the queue", func(ctx context.Context) error {
		for {
			p, err := what()
			if err == nil {
				err = publish(doc, p)
			}
			if err != nil {
				log.Debug("failed to tell other nodes how the queue is reached", "error", err)
				if clock.Sleep(ctx, retry) != nil {
					return nil
				}
				continue
			}
			select {
			case <-again:
			case <-ctx.Done():
				return nil
			}
		}
	})
}
