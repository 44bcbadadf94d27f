package node

import (
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// calls says who may make which call to the port between nodes, of a manager and of a
// worker. What is not in it is not served. The other way from node to node is the
// registry on the network, which lets every node read, by the same Identity.Peer.
var calls = map[string]join.Caller{
	join.RouteTime:                 join.Stranger,
	join.RouteJoin:                 join.Stranger, // the join string is in the body
	"GET " + bootstrap.PathCA:      join.Stranger,
	"GET " + bootstrap.PathScript:  join.Holder,
	"GET " + bootstrap.PathProgram: join.Holder,
	join.RouteRenew:                join.Returning,
	join.RouteFollow:               join.Returning,
	"POST " + pathLeave:            join.Returning,
	"/v2/":                         join.Node,
	exchange.Path:                  join.Node,
	"GET " + pathProgram + "{sum}": join.Node,
	"POST " + pathReach:            join.Node,
	"POST " + pathStage:            join.Manager,
	"POST " + pathUnstage:          join.Manager,
	"POST " + pathHeld:             join.Manager,
	"POST " + pathKill:             join.Manager,
	"POST " + pathContainer:        join.Manager,
	"POST " + pathUpgradeState:     join.Manager,
	"POST " + pathUpgrade:          join.Manager,
	"POST " + pathOwner:            join.Manager,
}

// nodePort serves handlers by their routes, to those whom the table lets through.
func nodePort(id *join.Identity, handlers map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	for route, h := range handlers {
		if who, ok := calls[route]; ok {
			mux.Handle(route, id.Require(who, h))
		}
	}
	return mux
}

// nodeHandlers are what the nodes' TLS port serves: the join to strangers, images and the
// rest to nodes.
func (m *Manager) nodeHandlers(images http.Handler) map[string]http.Handler {
	handlers := m.joins.Handlers()
	handlers["/v2/"] = registry.ReadOnly(images)
	handlers[exchange.Path] = m.pieces.Handler(unguarded, m.asker)
	handlers["GET "+pathProgram+"{sum}"] = http.HandlerFunc(m.offers.serve)
	handlers["POST "+pathReach] = http.HandlerFunc(m.answerReach)
	handlers["POST "+pathLeave] = http.HandlerFunc(m.letGo)
	handlers["GET "+bootstrap.PathCA] = http.HandlerFunc(m.serveCA)
	handlers["GET "+bootstrap.PathScript] = m.joins.RequireToken(m.serveScript, refuseBootstrap)
	handlers["GET "+bootstrap.PathProgram] = m.joins.RequireToken(m.serveProgram, refuseBootstrap)
	return handlers
}

// nodeHandlers are what the nodes' TLS port serves.
func (w *Worker) nodeHandlers() map[string]http.Handler {
	return map[string]http.Handler{
		"/v2/":                     w.mirror.Kept(),
		exchange.Path:              w.mirror.Exchange().Handler(unguarded, w.asker),
		"POST " + pathReach:        http.HandlerFunc(w.answerReach),
		"POST " + pathStage:        http.HandlerFunc(w.answerStage),
		"POST " + pathUnstage:      http.HandlerFunc(w.answerUnstage),
		"POST " + pathHeld:         http.HandlerFunc(w.answerHeld),
		"POST " + pathKill:         http.HandlerFunc(w.answerKill),
		"POST " + pathContainer:    http.HandlerFunc(w.answerContainer),
		"POST " + pathUpgradeState: http.HandlerFunc(w.answerUpgradeState),
		"POST " + pathUpgrade:      http.HandlerFunc(w.answerUpgrade),
		"POST " + pathOwner:        http.HandlerFunc(w.answerOwner),
	}
}
