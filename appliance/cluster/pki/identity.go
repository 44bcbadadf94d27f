package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Self holds what a node says about itself when it joins.
type Self struct {
	Name    string     // host name
	Addr    netip.Addr // where other nodes reach it
	Version string     // of crawlbox
}

// Identity holds who this node is: its key, its certificate, its cluster. Its
// methods may be called at the same time.
type Identity struct {
	Node NodeInfo
	Self Self
	// StartDelay is how long this node, which has just joined, is to wait once it is in
	// the swarm, before it begins what tasks do not need. 0 after a restart.
	StartDelay time.Duration

	dir string
	ca  *x509.Certificate
	key *ecdsa.PrivateKey

	renew chan struct{} // holds one token when the certificate is to be renewed now

	mu     sync.RWMutex
	cert   *tls.Certificate
	member Membership
	heard  time.Time // when a manager said last what is new, or that nothing is
}

// Files in the node's directory. The key is there first, and stays the same when a
// join is tried again.
const (
	KeyFile      = "key.pem"
	IdentityFile = "identity.json"
)

// storedIdentity is the content of identityFile.
type storedIdentity struct {
	Membership
	Self        Self   `json:"self"`
	Certificate []byte `json:"certificate"` // DER
	CA          []byte `json:"ca"`          // DER
}

// LoadIdentity reads the identity kept in dir. The error is ErrNotJoined where
// there is none.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, IdentityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotJoined
	}
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	id, err := parseIdentity(dir, data)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", Damaged(path, err))
	}
	return id, nil
}

func parseIdentity(dir string, data []byte) (*Identity, error) {
	var stored storedIdentity
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, err
	}
	keyData, err := os.ReadFile(filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, err
	}
	key, _, err := parseKey(keyData)
	if err != nil {
		return nil, fmt.Errorf("%s beside it: %w", KeyFile, err)
	}
	ca, err := x509.ParseCertificate(stored.CA)
	if err != nil {
		return nil, err
	}
	id := NewIdentity(dir, key, ca, stored.Self, stored.Membership)
	return id, id.Use(stored.Certificate)
}

// NewIdentity returns the identity of the node with a key, to be kept in dir. It is of no
// use before it has a certificate (Use), and not on disk before Save.
func NewIdentity(dir string, key *ecdsa.PrivateKey, ca *x509.Certificate, self Self, member Membership) *Identity {
	return &Identity{
		Self:   self,
		dir:    dir,
		key:    key,
		ca:     ca,
		renew:  make(chan struct{}, 1),
		member: member,
	}
}

// Use takes a certificate of the CA for this node's key into use.
func (id *Identity) Use(der []byte) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if !id.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("certificate is not for this node's key")
	}
	if err := leaf.CheckSignatureFrom(id.ca); err != nil {
		return fmt.Errorf("certificate is not the cluster's: %w", err)
	}
	info, err := InfoFrom(leaf)
	if err != nil {
		return err
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.Node == (NodeInfo{}) {
		id.Node = info
	}
	// The role follows Swarm's at each renewal; what this node was started as stays.
	if id.Node.ID != info.ID {
		return errors.New("certificate is that of another node")
	}
	id.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw, id.ca.Raw}, PrivateKey: id.key, Leaf: leaf}
	return nil
}

// Save puts the identity on disk.
func (id *Identity) Save() error {
	id.mu.RLock()
	defer id.mu.RUnlock()
	data, err := json.MarshalIndent(storedIdentity{
		Membership:  id.member,
		Self:        id.Self,
		Certificate: id.cert.Leaf.Raw,
		CA:          id.ca.Raw,
	}, "", "  ")
	if err == nil {
		err = durable.WriteFile(filepath.Join(id.dir, IdentityFile), data, SecretFile)
	}
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return nil
}

// Certificate returns the node's certificate, followed by the CA's. It changes
// when it is renewed; servers and clients made with ServerTLS and ClientTLS
// follow by themselves.
func (id *Identity) Certificate() *tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.cert
}

// Membership returns what the node knows of its cluster.
func (id *Identity) Membership() Membership {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.member
}

// refuses reports whether a node was removed from the cluster.
func (id *Identity) refuses(node string) bool {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return slices.Contains(id.member.Removed, node)
}

// HeardWithin reports whether a manager was heard from in that time.
func (id *Identity) HeardWithin(age time.Duration) bool {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return !id.heard.IsZero() && time.Since(id.heard) < age
}

func (id *Identity) ManagerAnswered() {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.heard = time.Now()
}

// Adopt takes over, and saves, what a manager says of the cluster. What it does
// not say stays: the Swarm join token until there is another, the seeds, and the order of
// managers, in which the one that worked comes first.
func (id *Identity) Adopt(m Membership) error {
	id.mu.Lock()
	have := id.member
	if m.Swarm.Token == "" {
		m.Swarm = have.Swarm
	}
	if len(m.Seeds) == 0 {
		m.Seeds = have.Seeds
	}
	if len(m.GossipKeys) == 0 {
		m.GossipKeys = have.GossipKeys
	}
	if len(m.Queue) == 0 || len(m.Queue) > MaxQueue {
		m.Queue = have.Queue
	}
	id.member = m
	outdated := EpochOf(id.cert.Leaf) < m.Renew
	id.mu.Unlock()
	if outdated {
		id.RenewSoon()
	}
	return id.Save()
}

// CA returns the hash of the cluster's CA.
func (id *Identity) CA() KeyHash { return HashOf(id.ca) }

// CAPEM returns the certificate of the cluster's CA.
func (id *Identity) CAPEM() []byte { return certPEM(id.ca.Raw) }

func (id *Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", id.Node.ID), slog.String("role", id.Node.Role))
}

// String shows who the node is, and no secret.
func (id *Identity) String() string { return id.Node.Role + " " + id.Node.ID }

// Format implements fmt.Formatter, for all verbs.
func (id *Identity) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, id.String()) }

// HasIdentity reports whether there is an identity in dir, or something that can't
// be looked at.
func HasIdentity(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, IdentityFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// Forget removes the identity from dir, for a node that left.
func Forget(dir string) error {
	for _, name := range []string{IdentityFile, KeyFile} {
		err := os.Remove(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget identity: %w", err)
		}
	}
	return nil
}

// CSR returns a certificate request for the node's key.
func (id *Identity) CSR() ([]byte, error) { return request(id.key) }

// NodeKey returns the node's key and a certificate request for it.
func NodeKey(dir string) (*ecdsa.PrivateKey, []byte, error) {
	path := filepath.Join(dir, KeyFile)
	data, err := loadOrCreate(path, func() ([]byte, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return keyPEM(key)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open node key: %w", err)
	}
	key, _, err := parseKey(data)
	if err != nil {
		return nil, nil, fmt.Errorf("open node key: %w", Damaged(path, err))
	}
	csr, err := request(key)
	return key, csr, err
}

func request(key *ecdsa.PrivateKey) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return csr, nil
}

// DropSwarmToken forgets the Swarm join token, which is of no use once Docker has joined.
func (id *Identity) DropSwarmToken() error {
	id.mu.Lock()
	id.member.Swarm = SwarmJoin{}
	id.mu.Unlock()
	return id.Save()
}
