// Package copies has nodes keep sealed copies of the cluster's backup for each other. A manager
// brings them; who keeps one can't open it.
package copies

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// keepTimeout bounds how long a copy takes to another node: at 100 Mbit/s the largest takes 8 s.
	keepTimeout = time.Minute
	// listTimeout bounds the question to all nodes together.
	listTimeout = 5 * time.Second
)

type keepRequest struct {
	Sealed []byte `json:"sealed"`
}

var keepCall = agent.Call[keepRequest, agent.None]{
	Route:      agent.RouteBackup,
	MaxRequest: backup.MaxSealed*4/3 + 1<<10, // in base 64
	Timeout:    keepTimeout,
	Invalid:    "not a backup, or larger than one may be",
	Succeeded:  http.StatusNoContent,
}

type listAnswer struct {
	Copies []backup.Copy `json:"copies"`
}

var listCall = agent.Call[agent.None, listAnswer]{Route: agent.RouteBackups, MaxAnswer: 64 << 10}

// Answer keeps copies of the cluster's backup in a data directory, and says which are there.
func Answer(dataDir string, id *pki.Identity, log *slog.Logger) []agent.Handler {
	shelf := backup.NewShelf(dataDir)
	cluster := id.CA().Hex()
	keep := func(_ context.Context, _ agent.Peer, r keepRequest) (agent.None, error) {
		err := shelf.Put(cluster, r.Sealed)
		if err != nil {
			log.Debug("failed to keep a backup", "error", err)
			err = &agent.StatusError{Code: http.StatusConflict, Text: err.Error()}
		}
		return agent.None{}, err
	}
	list := func(context.Context, agent.Peer, agent.None) (listAnswer, error) {
		all, err := shelf.List()
		return listAnswer{of(cluster, all)}, err
	}
	given := rate.NewLimiter(rate.Every(giveEvery), giveBurst)
	give := func(w http.ResponseWriter, _ *http.Request) {
		if !given.Allow() {
			http.Error(w, "it was asked too often; try again in a minute", http.StatusTooManyRequests)
			return
		}
		all, err := shelf.List()
		if all = of(cluster, all); err != nil || len(all) == 0 {
			http.Error(w, "this node keeps no backup; ask another one", http.StatusNotFound)
			return
		}
		sealed, err := all[0].Read()
		if err != nil {
			http.Error(w, "the backup cannot be read", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(sealed)
	}
	return []agent.Handler{
		keepCall.Handler(log, keep),
		listCall.Handler(log, list),
		agent.Raw(agent.RouteSealed, http.HandlerFunc(give)),
	}
}

const (
	// giveBurst is how many sealed copies a node gives out at once to whoever asks, and giveEvery how long
	// the next one takes then.
	giveBurst = 3
	giveEvery = 20 * time.Second
)

// of returns the copies of a cluster, as many as are kept of one.
func of(cluster string, all []backup.Copy) (list []backup.Copy) {
	for _, c := range all {
		if c.Cluster == cluster && len(list) < backup.Kept {
			list = append(list, c)
		}
	}
	return list
}

// Nodes are those that keep copies: all but this one.
type Nodes struct{ Peers *agent.Peers }

// List returns which nodes keep which copies. The error is that there is no list of nodes.
func (n Nodes) List(ctx context.Context) ([]backup.Holder, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, errors.New("no answer within 5s"))
	defer cancel()
	answers, err := listCall.DoAll(ctx, n.Peers, agent.None{})
	if err != nil {
		return nil, err
	}
	var list []backup.Holder
	for _, a := range answers {
		if !n.Peers.IsSelf(a.Node) {
			list = append(list, backup.Holder{Node: a.Node, Copies: a.Resp.Copies, Err: a.Err})
		}
	}
	return list, nil
}

// Keep brings a sealed backup onto a node.
func (n Nodes) Keep(ctx context.Context, to fleet.Node, sealed []byte) error {
	_, err := keepCall.Do(ctx, n.Peers, to, keepRequest{sealed})
	return err
}
