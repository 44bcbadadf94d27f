package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

// leaveTimeout bounds each question to a manager about leaving.
const leaveTimeout = 10 * time.Second

type leaveRequest struct {
	Node string `json:"node"` // Swarm's ID
}

// leaveCall tells a manager that the node that asks has left. Only the node itself can say
// so.
var leaveCall = Call[leaveRequest, None]{
	Route:      routeLeave,
	MaxRequest: 4 << 10,
	Timeout:    leaveTimeout,
	Invalid:    "not a leave request",
	Succeeded:  http.StatusNoContent,
}

// AnswerLeave ends the access of a node that left, and takes it off Swarm's list. changed
// is called first: it may have come and gone within a moment.
func AnswerLeave(joins *enroll.Server, list *member.List, changed func(), log *slog.Logger) Handler {
	return leaveCall.Handler(log, func(ctx context.Context, from Peer, r leaveRequest) (None, error) {
		// Only what is bound to it, never what else is at its address: behind NAT its
		// siblings are.
		changed()
		joins.Claim(ctx, from.ID, from.Addr, r.Node)
		member, ok := list.Get(from.ID)
		if !ok {
			return None{}, &StatusError{Code: http.StatusForbidden, Text: "this node is not of the cluster"}
		}
		if err := joins.Remove(ctx, member.Bound, from.ID); err != nil {
			return None{}, err
		}
		log.Info("node left", "name", member.Name, "addr", member.Remote)
		return None{}, nil
	})
}

// Leave tells one of the managers that this node, which has an ID in the swarm, has left.
func Leave(ctx context.Context, managers []Target, swarmID string) error {
	_, err := leaveCall.Any(ctx, managers, leaveRequest{swarmID})
	if errors.Is(err, pki.ErrRemoved) {
		return nil // there is nothing left to take leave of
	}
	return err
}

// timeCall finds out whether a manager answers.
var timeCall = Call[None, None]{Route: enroll.RouteTime, Timeout: leaveTimeout}

// Reachable returns nil if one of the managers answers.
func Reachable(ctx context.Context, managers []Target) error {
	_, err := timeCall.Any(ctx, managers, None{})
	return err
}
