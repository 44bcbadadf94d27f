package enroll

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Paths of the exchange.
const (
	pathJoin   = "/v1/join"
	pathRenew  = "/v1/renew"
	pathFollow = "/v1/follow"
	pathTime   = "/v1/time"
)

const (
	wireVersion = 1
	maxRequest  = 16 << 10 // bytes
	maxAnswer   = 1 << 20
)

// joinRequest is the body of POST /v1/join.
type joinRequest struct {
	Version  int        `json:"version"`
	Token    string     `json:"token"`
	Secret   []byte     `json:"secret"`
	Role     string     `json:"role"`
	CSR      []byte     `json:"csr"`  // DER
	Name     string     `json:"name"` // host name
	Addr     netip.Addr `json:"addr"` // where other nodes reach it, as it says: for people
	Crawlbox string     `json:"crawlbox"`
}

// renewRequest is the body of POST /v1/renew.
type renewRequest struct {
	Version    int        `json:"version"`
	CSR        []byte     `json:"csr"`
	Addr       netip.Addr `json:"addr"`             // for people
	SwarmToken bool       `json:"ticket,omitempty"` // asks for a Swarm join token too
}

// followRequest is the body of POST /v1/follow.
type followRequest struct {
	Version int    `json:"version"`
	Have    string `json:"have"`  // version of what the node knows
	Swarm   string `json:"swarm"` // its ID in the swarm, empty where it does not know; a claim, see members
}

// followAnswer holds what is new; without a version, nothing is.
type followAnswer struct {
	pki.Membership
	News string    `json:"news,omitempty"` // version
	Role string    `json:"role,omitempty"` // that the node may have now
	Time time.Time `json:"time"`
	// Bound is set where it is the node of Swarm that it says it is.
	Bound bool `json:"bound,omitempty"`
}

// joinAnswer is the body of a success.
type joinAnswer struct {
	pki.Membership
	Certificate []byte    `json:"certificate"` // DER
	CA          []byte    `json:"ca"`          // DER
	Time        time.Time `json:"time"`

	StartDelay time.Duration `json:"settle_ns,omitempty"` // see Identity.StartDelay

	node string // that got it, for the audit
}

// refusal is the body of every other answer.
type refusal struct {
	Code   string    `json:"code"`
	Detail string    `json:"detail,omitempty"`
	Time   time.Time `json:"time"`
}

// decodeRequest reads a request from an unknown client. The version is looked at first,
// so that a newer crawlbox hears that, and not that a field is unknown.
func decodeRequest[T any](body []byte) (req T, err error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return req, fmt.Errorf("%w: it is not JSON", ErrBadRequest)
	}
	if v.Version != wireVersion {
		return req, fmt.Errorf("%w: it is %d there and %d here", ErrVersion, wireVersion, v.Version)
	}
	if err := bound.Strict(bytes.NewReader(body), maxRequest, &req); err != nil {
		return req, fmt.Errorf("%w: a field is unknown or of the wrong type", ErrBadRequest)
	}
	return req, nil
}

func decodeJoin(body []byte) (joinRequest, error) {
	req, err := decodeRequest[joinRequest](body)
	if err != nil {
		return joinRequest{}, err
	}
	if err := req.check(); err != nil {
		return joinRequest{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return req, nil
}

func (r joinRequest) check() error {
	switch {
	case len(r.Secret) != len(token.Secret{}):
		return errors.New("secret has the wrong length")
	case r.Role != fleet.RoleManager && r.Role != fleet.RoleWorker:
		return errors.New("role is unknown")
	case !pki.IsHostName(r.Name):
		return errors.New("host name has odd characters")
	case len(r.Crawlbox) > pki.MaxName || hasUnprintable(r.Crawlbox) ||
		len(r.Token) > pki.MaxName || hasUnprintable(r.Token):
		return errors.New("version or token has odd characters")
	}
	return pki.CheckAddr(r.Addr)
}

func hasUnprintable(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
