package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Nodes answers for the nodes of the swarm.
type Nodes interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Node(ctx context.Context, node string) (fleet.Node, error)
	SetNode(ctx context.Context, node, verb string) error
	LabelNode(ctx context.Context, req LabelRequest) (fleet.Node, error)
}

// LabelRequest asks for other labels of a node.
type LabelRequest struct {
	Node   string            `json:"node"`
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"` // names
}

func NodesArea(n Nodes) Area {
	return Area{
		"GET /v1/nodes":        List(plain(n.Nodes)),
		"GET /v1/nodes/{node}": Value(answered(node, n.Node)),
		"POST /v1/labels":      Value(answered(labelRequest, n.LabelNode)),
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

// Node returns the node that a name, a host name, an address, or an ID or its beginning means.
func (c *Client) Node(ctx context.Context, node string) (v fleet.Node, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/nodes/"+url.PathEscape(node), nil, &v)
}

// LabelNode changes the labels of a node, and returns the node as it is then.
func (c *Client) LabelNode(ctx context.Context, req LabelRequest) (v fleet.Node, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/labels", req, &v)
}

func node(r *http.Request) (string, error) { return r.PathValue("node"), nil }

func labelRequest(r *http.Request) (req LabelRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("node", req.Node), slog.Any("set", req.Set), slog.Any("remove", req.Remove))
	for name, value := range req.Set {
		if err := fleet.CheckLabel(name, value); err != nil {
			return req, Invalid("%s", err)
		}
	}
	return req, nil
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

// Backups answers for the cluster's backups.
type Backups interface {
	// Backups lists the other nodes, with the copies that each keeps.
	Backups(ctx context.Context) ([]BackupHolder, error)
	// BackUp brings a backup to other nodes and the places of the config, unless they have it.
	BackUp(ctx context.Context) error
}

func BackupsArea(b Backups) Area {
	return Area{
		"GET /v1/backups":  List(plain(b.Backups)),
		"POST /v1/backups": Action(func(r *http.Request) error { return b.BackUp(r.Context()) }),
	}
}

// BackupHolder is a node that may keep sealed copies of the cluster's backup.
type BackupHolder struct {
	Node   string       `json:"node"`
	Copies []BackupCopy `json:"copies"`          // the newest first
	Error  string       `json:"error,omitempty"` // why it did not say
}

// BackupCopy is a sealed copy.
type BackupCopy struct {
	Made    time.Time `json:"made,omitzero"`
	By      string    `json:"by"` // host name of the manager
	Epoch   int       `json:"epoch"`
	Size    int64     `json:"size"`    // bytes
	Content string    `json:"content"` // SHA-256 of what it has
}

// Backups lists the other nodes, with the copies of the cluster's backup that each keeps.
func (c *Client) Backups(ctx context.Context) (v []BackupHolder, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/backups", nil, &v)
}

// BackUp brings a backup of the cluster to other nodes and the places of the config.
func (c *Client) BackUp(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/backups", nil, nil)
}
