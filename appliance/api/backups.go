package api

import (
	"context"
	"net/http"
	"time"
)

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
