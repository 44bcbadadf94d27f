package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Images answers for the images of the cluster's registry.
type Images interface {
	Images(ctx context.Context, nodes bool) ([]fleet.Image, error)
	RemoveImage(ctx context.Context, ref string, force bool) error
	CollectImages(ctx context.Context) (GCReport, error)
}

func ImagesArea(i Images) Area {
	return Area{
		"GET /v1/images": List(answered(query(flag, "nodes"), i.Images)),
		"DELETE /v1/images": Action(func(r *http.Request) error {
			ref, err := needed(r, "ref")
			if err != nil {
				return err
			}
			force, err := flag(r, "force")
			if err != nil {
				return err
			}
			return i.RemoveImage(r.Context(), ref, force)
		}),
		"POST /v1/images/gc": Value(plain(i.CollectImages)),
	}
}

// GCReport says what a collection of unused images freed.
type GCReport struct {
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`

	// Held is the size in bytes of what nothing needs but a push under way may
	// count on; it can be freed from HeldUntil on.
	Held      int64     `json:"held"`
	HeldUntil time.Time `json:"held_until,omitzero"`
}

// Images returns the tags of the registry, and where nodes is set also on how many
// nodes each is, for which all of them are asked.
func (c *Client) Images(ctx context.Context, nodes bool) (v []fleet.Image, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/images?nodes="+strconv.FormatBool(nodes), nil, &v)
}

// RemoveImage removes a tag, such as spider:0.01, and one that a service runs only if it is forced to.
func (c *Client) RemoveImage(ctx context.Context, ref string, force bool) error {
	return c.call(ctx, http.MethodDelete,
		"/v1/images?ref="+url.QueryEscape(ref)+"&force="+strconv.FormatBool(force), nil, nil)
}

// CollectImages frees what no tag and no service needs.
func (c *Client) CollectImages(ctx context.Context) (v GCReport, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/images/gc", nil, &v)
}
