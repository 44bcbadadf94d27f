package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Nodes answers for the nodes of the swarm.
type Nodes interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	SetNode(ctx context.Context, node, verb string) error
}

func NodesArea(n Nodes) Area {
	return Area{
		"GET /v1/nodes": List(plain(n.Nodes)),
		"POST /v1/nodes/{node}/{verb}": Action(func(r *http.Request) error {
			verb := r.PathValue("verb")
			switch verb {
			case "promote", "demote", "drain", "activate", "pause":
				return n.SetNode(r.Context(), r.PathValue("node"), verb)
			}
			return Invalid("cannot %q a node; it is promote, demote, drain, activate or pause", verb)
		}),
	}
}

// Removals take nodes out of the cluster.
type Removals interface {
	RemoveNode(ctx context.Context, node string, force bool) error
}

func RemovalsArea(n Removals) Area {
	return Area{
		"DELETE /v1/nodes/{node}": Action(func(r *http.Request) error {
			force, err := flag(r, "force")
			if err != nil {
				return err
			}
			return n.RemoveNode(r.Context(), r.PathValue("node"), force)
		}),
	}
}

// Nodes returns all nodes, managers first, then by name.
func (c *Client) Nodes(ctx context.Context) (v []fleet.Node, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/nodes", nil, &v)
}

// SetNode changes a node: verb is promote, demote, drain, activate or pause.
func (c *Client) SetNode(ctx context.Context, node, verb string) error {
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(node)+"/"+verb, nil, nil)
}

// RemoveNode takes a node that is gone out of the cluster. With force it is
// removed although Swarm still hears from it.
func (c *Client) RemoveNode(ctx context.Context, node string, force bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/nodes/"+url.PathEscape(node)+"?force="+strconv.FormatBool(force), nil,
		nil)
}
