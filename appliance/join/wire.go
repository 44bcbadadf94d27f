package join

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
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
	maxNodeName = 64 // Linux allows no longer host names
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
	Version int        `json:"version"`
	CSR     []byte     `json:"csr"`
	Addr    netip.Addr `json:"addr"`             // for people
	Ticket  bool       `json:"ticket,omitempty"` // asks for a SwarmTicket too
}

// followRequest is the body of POST /v1/follow.
type followRequest struct {
	Version int    `json:"version"`
	Have    string `json:"have"`  // version of what the node knows
	Swarm   string `json:"swarm"` // its ID in the swarm, empty where it does not know; a claim, see members
}

// followAnswer is what is new; without a version, nothing is.
type followAnswer struct {
	Membership
	News string    `json:"news,omitempty"` // version
	Time time.Time `json:"time"`
}

// Membership is what a node knows of its cluster. It gets it when it joins, and
// by Identity.Follow whenever something changes.
type Membership struct {
	Cluster    string           `json:"cluster"`
	Managers   []netip.AddrPort `json:"managers"` // where they speak mutual TLS
	Swarm      SwarmTicket      `json:"swarm"`
	GossipKeys Keyring          `json:"gossip_keys"` // the first encrypts, all decrypt
	Seeds      []netip.AddrPort `json:"seeds"`       // of gossip
	Removed    []string         `json:"removed"`     // IDs of nodes that are no longer of the cluster
	// Nodes are the addresses at which nodes are known to be, sorted. A node connects to
	// no others. Empty means that the manager is of a version that does not say.
	Nodes []netip.Addr `json:"nodes,omitempty"`

	// ManagerIDs are the nodes that are managers now, for Swarm too. It is empty where a
	// manager of an older version says nothing of it.
	ManagerIDs []string `json:"manager_ids,omitempty"`
	Epoch      int      `json:"epoch,omitempty"` // certificates of earlier ones are refused
	Renew      int      `json:"renew,omitempty"` // who has a certificate of an earlier one gets another
}

// SwarmTicket lets a node into the swarm.
type SwarmTicket struct {
	Token    SwarmToken `json:"token"`
	Managers []string   `json:"managers"` // HOST:PORT, port 2377 usually
}

// SwarmToken is Swarm's own join token. It does not show when printed; convert
// it to a string to use it.
type SwarmToken string

// Format implements fmt.Formatter, for all verbs.
func (SwarmToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Key is a secret key. It does not show when printed.
type Key []byte

// Format implements fmt.Formatter, for all verbs.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Keyring is some keys. It does not show when printed.
type Keyring []Key

// Format implements fmt.Formatter, for all verbs.
func (Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer: a JSON log would not ask Format.
func (m Membership) LogValue() slog.Value {
	return slog.GroupValue(slog.String("cluster", m.Cluster), slog.Any("managers", m.Managers))
}

// LogValue implements slog.LogValuer.
func (SwarmTicket) LogValue() slog.Value { return slog.StringValue(redacted) }

// LogValue implements slog.LogValuer.
func (SwarmToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// LogValue implements slog.LogValuer.
func (Keyring) LogValue() slog.Value { return slog.StringValue(redacted) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// joinAnswer is the body of a success.
type joinAnswer struct {
	Membership
	Certificate []byte    `json:"certificate"` // DER
	CA          []byte    `json:"ca"`          // DER
	Time        time.Time `json:"time"`

	Settle time.Duration `json:"settle_ns,omitempty"` // see Identity.Settle

	node string // who got it, for the audit
}

// refusal is the body of every other answer.
type refusal struct {
	Code   string    `json:"code"`
	Detail string    `json:"detail,omitempty"`
	Time   time.Time `json:"time"`
}

// decodeRequest reads a request from a stranger. The version is looked at first,
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
	case len(r.Secret) != len(Secret{}):
		return errors.New("secret has the wrong length")
	case r.Role != fleet.RoleManager && r.Role != fleet.RoleWorker:
		return errors.New("role is unknown")
	case !isHostName(r.Name):
		return errors.New("host name has odd characters")
	case len(r.Crawlbox) > maxNodeName || hasOdd(r.Crawlbox) || len(r.Token) > maxNodeName || hasOdd(r.Token):
		return errors.New("version or token has odd characters")
	}
	return checkAddr(r.Addr)
}

func checkAddr(a netip.Addr) error {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return errors.New("address cannot be that of a node")
	}
	return nil
}

func isHostName(s string) bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
	}
	return s != "" && len(s) <= maxNodeName && strings.IndexFunc(s, odd) < 0
}

func hasOdd(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
