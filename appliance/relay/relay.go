// Package relay passes calls of the local API on to the manager that has to answer them. So a user
// may ask any manager, and what must be done at one place is.
package relay

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
)

const prefix = "/v1/api"

// Answer serves the calls of areas that other managers pass on.
func Answer(audit api.Audit, log *slog.Logger, areas []api.Area) agent.Handler {
	name := func(r *http.Request) string {
		from, _ := enroll.PeerFrom(r.Context())
		return from.ID
	}
	return agent.Raw(agent.RouteAPI, http.StripPrefix(prefix, api.Passed(api.Handler(audit, log, areas...), name)))
}

// To returns what passes calls on to the manager at the address that where returns; nil: none is known, it is this
// one, or it does not run, as far as gossip knows. client speaks to managers only.
func To(view *agent.View, where func() netip.Addr, client *http.Client) func() http.Handler {
	transport := client.Transport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 0 // some take their time
	transport.DisableKeepAlives = true  // so it is known soon that a manager hangs
	return func() http.Handler {
		addr := where()
		if !addr.IsValid() || view.IsSelf(addr) || !view.IsAlive(addr) {
			return nil
		}
		to := &url.URL{Scheme: "https", Host: view.Addr(addr), Path: prefix}
		return api.Relay(explained{transport, to.Host}, to, view.Name(addr))
	}
}

// explained asks a node at a port, and says in plain words why it does not answer.
type explained struct {
	http.RoundTripper
	port string
}

func (e explained) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r)
	if err != nil {
		err = agent.Unreached(e.port, err)
	}
	return resp, err
}
