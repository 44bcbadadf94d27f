package agent

import (
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// Routes of the port between nodes, beside those of other packages.
const (
	RouteOwner        = "POST /v1/owner"
	RouteReach        = "POST /v1/reach"
	RouteBackup       = "POST /v1/backup"
	RouteBackups      = "POST /v1/backups"
	RouteSealed       = "GET /v1/backup"
	RouteNotice       = "POST /v1/notice"
	RouteNewest       = "GET /v1/notice"
	RoutePeaks        = "POST /v1/peaks"
	RouteImages       = "/v2/"          // the registry's
	RouteAPI          = "/v1/api/"      // and a call of the local API
	RouteRegistry     = "/v1/registry/" // and what another manager's own registry is asked
	RouteFilled       = "POST /v1/filled"
	RouteSweep        = "POST /v1/sweep"
	RouteHomeSend     = "PUT /v1/home"
	RouteHomeTake     = "POST /v1/home"
	RouteHomeFits     = "POST /v1/home/fits"
	RouteHomeCopy     = "PUT /v1/home/copy"
	RouteHomeBeat     = "POST /v1/home/beat"
	RouteHomeAgree    = "POST /v1/home/agree"
	RouteHomeTakeOver = "POST /v1/home/takeover"
	RouteLogsKept     = "POST /v1/logs/kept"
	RouteLogsRead     = "POST /v1/logs/read"
	RouteLogsExcerpts = "POST /v1/logs/excerpts"
	routeLeave        = "POST /v1/leave"
	routePull         = "POST /v1/stage"
	routePrune        = "POST /v1/unstage"
	routeImages       = "POST /v1/held"
	routeKill         = "POST /v1/kill"
	routeContainer    = "POST /v1/container"
	routeExecute      = "POST /v1/exec"
	routeUpgradeState = "POST /v1/upgrade/state"
	routeUpgrade      = "POST /v1/upgrade"
	routeStatePut     = "POST /v1/state/put"
	routeStateGet     = "POST /v1/state/get"
	routeStateTell    = "POST /v1/state/tell"
	routeProgram      = "GET /v1/program/" // and its checksum
	routeCA           = "GET " + bootstrap.PathCA
	routeScript       = "GET " + bootstrap.PathScript
	routeBootstrap    = "GET " + bootstrap.PathProgram
)

// Callers is the table of who may make which call to the port between nodes, whatever the
// role of the node that is called. What is not in it is not served. The other way from
// node to node is the registry on the network, which lets every node read, by the same
// Identity.Peer.
var Callers = map[string]enroll.Caller{
	enroll.RouteTime:       enroll.Anyone,
	enroll.RouteJoin:       enroll.Anyone, // the join token is in the body
	routeCA:                enroll.Anyone,
	routeScript:            enroll.Holder,
	routeBootstrap:         enroll.Holder,
	enroll.RouteRenew:      enroll.Returning,
	enroll.RouteFollow:     enroll.Returning,
	routeLeave:             enroll.Returning,
	RouteImages:            enroll.Node,
	wire.Path:              enroll.Node,
	routeProgram + "{sum}": enroll.Node,
	RouteReach:             enroll.Node,
	routePull:              enroll.Manager,
	routePrune:             enroll.Manager,
	routeImages:            enroll.Manager,
	routeKill:              enroll.Manager,
	routeContainer:         enroll.Manager,
	routeExecute:           enroll.Manager,
	routeUpgradeState:      enroll.Manager,
	routeUpgrade:           enroll.Manager,
	routeStatePut:          enroll.Manager,
	routeStateGet:          enroll.Manager,
	routeStateTell:         enroll.Manager,
	RouteOwner:             enroll.Manager,
	RouteBackup:            enroll.Manager,
	RouteBackups:           enroll.Manager,
	RouteAPI:               enroll.Manager,
	RouteRegistry:          enroll.Manager,
	RouteFilled:            enroll.Manager,
	RouteSweep:             enroll.Manager,
	RouteHomeSend:          enroll.Manager,
	RouteHomeTake:          enroll.Manager,
	RouteHomeFits:          enroll.Manager,
	RouteHomeCopy:          enroll.Manager,
	RouteHomeBeat:          enroll.Manager,
	RouteHomeAgree:         enroll.Manager,
	RouteHomeTakeOver:      enroll.Manager,
	RouteLogsKept:          enroll.Manager,
	RouteLogsRead:          enroll.Manager,
	RouteLogsExcerpts:      enroll.Manager,
	RouteSealed:            enroll.Anyone, // sealed, for a bare server
	RouteNotice:            enroll.Anyone, // signed by the CA
	RouteNewest:            enroll.Node,
	RoutePeaks:             enroll.Manager,
}

// Port serves handlers to the callers that the table admits.
func Port(id *pki.Identity, handlers []Handler) http.Handler {
	mux := http.NewServeMux()
	for _, h := range handlers {
		if who, ok := Callers[h.Route()]; ok {
			mux.Handle(h.Route(), enroll.Require(id, who, h))
		}
	}
	return mux
}
