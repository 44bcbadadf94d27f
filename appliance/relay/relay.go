// Package relay passes calls of the local API on to the manager that has to answer them. So a user
// may ask any manager, and what must be done at one place is.
package relay

import (
	"log/slog"
	"net/http"
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

// ToPrimary returns what passes calls on to the primary of a view; nil: it does not run, as far as gossip
// knows. client speaks to managers only.
func ToPrimary(view *agent.View, client *http.Client) func() http.Handler {
	transport := client.Transport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 0 // some take their time
	return func() http.Handler {
		addr := view.Primary()
		if !view.IsAlive(addr) {
			return nil
		}
		return api.Relay(transport, &url.URL{Scheme: "https", Host: view.Addr(addr), Path: prefix}, view.PrimaryName())
	}
}
