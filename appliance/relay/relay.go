// Package relay passes calls of the local API on to the manager that has to answer them. So a user
// may ask any manager, and what must be done at one place is.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
)

const prefix = "/v1/api"

// Answer serves the calls of areas that other managers pass on, by a view of who they are.
func Answer(view *agent.View, audit api.Audit, log *slog.Logger, areas []api.Area) agent.Handler {
	of := func(r *http.Request) (name, id string) {
		from, _ := enroll.PeerFrom(r.Context())
		return view.HostName(agent.AskerAddr(r)), from.ID
	}
	return agent.Raw(agent.RouteAPI, http.StripPrefix(prefix, api.Passed(api.Handler(audit, log, areas...), of)))
}

// Relay passes calls on to other managers.
type Relay struct {
	view      *agent.View
	transport http.RoundTripper
}

// New returns a relay by a view of where the others are. client speaks to managers only.
func New(view *agent.View, client *http.Client) *Relay {
	transport := client.Transport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 0 // some take their time
	transport.DisableKeepAlives = true  // so it is known soon that a manager hangs
	return &Relay{view, transport}
}

// To passes calls on to the manager at the address that where returns. Where that is this node, not valid, or the
// manager does not run as far as gossip knows, this node answers.
func (l *Relay) To(where func() netip.Addr) api.Far {
	return func() (api.Pass, bool) {
		addr := where()
		if !addr.IsValid() || l.view.IsSelf(addr) || !l.view.IsAlive(addr) {
			return nil, true
		}
		return l.pass(addr), true
	}
}

// ToLeader passes calls on to the manager that leads, at the address that leader returns; not valid: nobody does.
// Where it is this node, leads reports whether it is ready for it.
func (l *Relay) ToLeader(leader func() netip.Addr, leads func() bool) api.Far {
	return func() (api.Pass, bool) {
		addr := leader()
		switch {
		case l.view.IsSelf(addr):
			return nil, leads()
		case !addr.IsValid():
			return nil, false
		}
		return l.pass(addr), true
	}
}

// lookEvery is how often it is looked whether a manager still runs that answers a call.
const lookEvery = time.Second

// errGone is why a call is broken off whose manager runs no longer, as far as gossip knows.
var errGone = errors.New("it went away in the middle")

// pass passes a call on to a manager at an address, and breaks it off where that is heard to have gone: a connection
// to a machine without power ends much later.
func (l *Relay) pass(addr netip.Addr) api.Pass {
	to := &url.URL{Scheme: "https", Host: l.view.Addr(addr), Path: prefix}
	relayed := api.Relay(explained{l.transport, to.Host}, to, l.view.Name(addr))
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		go func() {
			for !l.view.IsGone(addr) {
				if clock.Sleep(ctx, lookEvery) != nil {
					return
				}
			}
			cancel(errGone)
		}()
		return relayed(w, r.WithContext(ctx))
	}
}

// explained asks a node at a port, and says in plain words why it does not answer.
type explained struct {
	http.RoundTripper
	port string
}

func (e explained) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r)
	switch {
	case err != nil && errors.Is(context.Cause(r.Context()), errGone):
		err = errGone
	case err != nil:
		err = agent.Unreached(e.port, err)
	}
	return resp, err
}
