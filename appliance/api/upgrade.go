package api

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// UpgradeState says what version this node runs, and how far its upgrade is.
func (c *Client) UpgradeState(ctx context.Context) (v upgrade.State, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/upgrade", nil, &v)
}

// OfferProgram brings a program to the manager, which is to have the size and the
// checksum of o, and returns what it is.
func (c *Client) OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (v upgrade.Offer, err error) {
	q := url.Values{"sha256": {o.SHA256}, "size": {strconv.FormatInt(o.Size, 10)}}
	return v, c.call(ctx, http.MethodPost, "/v1/upgrade/program?"+q.Encode(), program, &v)
}

// UpgradePlan says what would be done to bring an offer onto all nodes.
func (c *Client) UpgradePlan(ctx context.Context, o upgrade.Offer) (v []upgrade.Step, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/upgrade/plan", o, &v)
}

// UpgradeNodes brings the program that was offered last onto all nodes but the
// manager's own, and calls fn with each thing that happens. It stops at the first node
// that does not become ready with it, and has its old version back.
func (c *Client) UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/upgrade", o, fn)
}

// UpgradeSelf begins to bring the program that was offered last onto the manager,
// which is restarted with it. How that goes, UpgradeState says.
func (c *Client) UpgradeSelf(ctx context.Context, o upgrade.Offer) error {
	return c.call(ctx, http.MethodPost, "/v1/upgrade/self", o, nil)
}

func (h *handler) offerProgram(r *http.Request) (any, error) {
	size, err := number(r, "size", 0)
	if err != nil {
		return nil, err
	}
	o := upgrade.Offer{SHA256: r.URL.Query().Get("sha256"), Size: int64(size)}
	if err := checkOffer(r, o); err != nil {
		return nil, err
	}
	return h.b.OfferProgram(r.Context(), o, r.Body)
}

func (h *handler) upgradePlan(r *http.Request) (any, error) {
	o, err := offerOf(r)
	if err != nil {
		return nil, err
	}
	return list(h.b.UpgradePlan(r.Context(), o))
}

func (h *handler) upgradeNodes(r *http.Request, out *lines[upgrade.Event]) error {
	o, err := offerOf(r)
	if err != nil {
		return err
	}
	return h.b.UpgradeNodes(r.Context(), o, out.write)
}

func (h *handler) upgradeSelf(r *http.Request) (any, error) {
	o, err := offerOf(r)
	if err != nil {
		return nil, err
	}
	return nil, h.b.UpgradeSelf(r.Context(), o)
}

func offerOf(r *http.Request) (o upgrade.Offer, err error) {
	if err := body(r, &o); err != nil {
		return o, err
	}
	return o, checkOffer(r, o)
}

func checkOffer(r *http.Request, o upgrade.Offer) error {
	note(r, slog.String("version", o.Version), slog.String("sha256", o.SHA256))
	if sum, err := hex.DecodeString(o.SHA256); err != nil || len(sum) != 32 {
		return Invalid("sha256 is %q; it must be 64 hexadecimal digits", o.SHA256)
	}
	if o.Size < 1 || o.Size > upgrade.MaxSize {
		return Invalid("size is %d; it must be from 1 to %d bytes", o.Size, upgrade.MaxSize)
	}
	return nil
}
