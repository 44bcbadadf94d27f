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

// Upgrades bring another crawlbox onto the nodes.
type Upgrades interface {
	OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error)
	UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error)
	UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error
	UpgradeSelf(ctx context.Context, o upgrade.Offer) error
}

func UpgradesArea(u Upgrades) Area {
	return Area{
		"POST /v1/upgrade":      Events(upgradeLag, asked(offerOf, u.UpgradeNodes)),
		"POST /v1/upgrade/plan": List(answered(offerOf, u.UpgradePlan)),
		"POST /v1/upgrade/program": Value(func(r *http.Request) (upgrade.Offer, error) {
			o, err := programOf(r)
			if err != nil {
				return o, err
			}
			return u.OfferProgram(r.Context(), o, r.Body)
		}),
		"POST /v1/upgrade/self": Action(done(offerOf, u.UpgradeSelf)),
	}
}

// OfferProgram brings a program to the manager, which is to have the size and the
// checksum of o, and returns what it is.
func (c *Client) OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (v upgrade.Offer, err error) {
	q := url.Values{"sha256": {o.SHA256}, "size": {strconv.FormatInt(o.Size, 10)}}
	return v, c.call(ctx, http.MethodPost, "/v1/upgrade/program?"+q.Encode(), program, &v)
}

// UpgradePlan returns what would be done to bring an offer onto all nodes.
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

// programOf returns what the program that comes with a request should be.
func programOf(r *http.Request) (o upgrade.Offer, err error) {
	size, err := number(r, "size", 0)
	if err != nil {
		return o, err
	}
	o = upgrade.Offer{SHA256: r.URL.Query().Get("sha256"), Size: int64(size)}
	return o, checkOffer(r, o)
}
