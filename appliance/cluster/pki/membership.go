package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
)

// Membership holds what a node knows of its cluster. It gets it when it joins, and
// by enroll.Follow whenever something changes.
type Membership struct {
	Cluster  string           `json:"cluster"`
	Managers []netip.AddrPort `json:"managers"` // where they speak mutual TLS
	// Full are those managers that have all images. Empty: all of them, as far as is known.
	Full       []netip.AddrPort `json:"full,omitempty"`
	Swarm      SwarmJoin        `json:"swarm"`
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
	// Restored is how often the cluster was restored. A manager of fewer is not followed.
	Restored int `json:"restored,omitempty"`
	// Queue is how the cluster's queue is reached, with its password, as package node/queue writes it; at most
	// MaxQueue bytes. Empty means that the manager does not say.
	Queue Key `json:"queue,omitempty"`
}

// MaxQueue bounds Membership.Queue, in bytes.
const MaxQueue = 32 << 10

// SwarmJoin lets a node into the swarm.
type SwarmJoin struct {
	Token    SwarmToken `json:"token"`
	Managers []string   `json:"managers"` // HOST:PORT, port 2377 usually
}

// SwarmToken is Swarm's own join token. It does not show when printed; convert
// it to a string to use it.
type SwarmToken string

// Format implements fmt.Formatter, for all verbs.
func (SwarmToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// Key is a secret key. It does not show when printed.
type Key []byte

// Format implements fmt.Formatter, for all verbs.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// Keyring is some keys. It does not show when printed.
type Keyring []Key

// Format implements fmt.Formatter, for all verbs.
func (Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

func (r Keyring) Raw() [][]byte {
	raw := make([][]byte, len(r))
	for i, key := range r {
		raw[i] = key
	}
	return raw
}

// LogValue implements slog.LogValuer: a JSON log would not ask Format.
func (m Membership) LogValue() slog.Value {
	return slog.GroupValue(slog.String("cluster", m.Cluster), slog.Any("managers", m.Managers))
}

func (SwarmJoin) LogValue() slog.Value { return slog.StringValue(Redacted) }

func (SwarmToken) LogValue() slog.Value { return slog.StringValue(Redacted) }

func (Keyring) LogValue() slog.Value { return slog.StringValue(Redacted) }

func (Key) LogValue() slog.Value { return slog.StringValue(Redacted) }

func CheckAddr(a netip.Addr) error {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return errors.New("address cannot be that of a node")
	}
	return nil
}

func IsHostName(s string) bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
	}
	return s != "" && len(s) <= MaxName && strings.IndexFunc(s, odd) < 0
}

// Good reports whether there is one key, or two while they change.
func (r Keyring) Good() bool {
	odd := func(key Key) bool { return len(key) != gossipKeySize }
	return len(r) > 0 && len(r) <= 2 && !slices.ContainsFunc(r, odd)
}

// Hashes tell keys apart without giving them away.
func (r Keyring) Hashes() []string {
	list := make([]string, len(r))
	for i, key := range r {
		sum := sha256.Sum256(key)
		list[i] = hex.EncodeToString(sum[:8])
	}
	return list
}

const gossipKeySize = 32 // bytes

func NewKey() []byte {
	key := make([]byte, gossipKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// MaxName is the longest name of a node, in bytes: Linux allows no longer host names.
const MaxName = 64

// Redacted stands for a secret where it would be printed.
const Redacted = "••••"
