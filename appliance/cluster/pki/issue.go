package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Grant holds what a certificate should say.
type Grant struct {
	Role  string
	Names []string     // host names, beside localhost
	Addrs []netip.Addr // addresses, beside loopback

	Epoch   int  // see members
	HoldsCA bool // of the manager that signs
	Trial   bool // good for trialLife only

	From, Until time.Time // zero: now, for NodeLife
}

// marks returns what nodes of this version read in a certificate, and others ignore.
func (g Grant) marks() []string {
	marks := []string{epochMark + strconv.Itoa(g.Epoch)}
	if g.HoldsCA {
		marks = append(marks, holderMark)
	}
	return marks
}

func (ca *CA) Issue(csr *x509.CertificateRequest, g Grant) (*x509.Certificate, error) {
	info := NodeInfo{ID: IDOf(csr.RawSubjectPublicKeyInfo), Role: g.Role}
	if now := time.Now(); g.From.IsZero() {
		// Half of a short life, as tests have it, must not be over at once.
		life := NodeLife()
		if g.Trial {
			life = min(life, TrialLife)
		}
		g.From, g.Until = now.Add(-min(skewMargin, life/10)), now.Add(life)
	}
	tmpl := g.template()
	tmpl.Subject = pkix.Name{CommonName: info.ID, Organization: []string{g.Role}, OrganizationalUnit: g.marks()}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	tmpl.URIs = []*url.URL{info.uri()}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// template returns what all certificates of a grant have.
func (g Grant) template() *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(),
		NotBefore:    g.From,
		NotAfter:     g.Until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		DNSNames:     append([]string{"localhost"}, g.Names...),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},

		BasicConstraintsValid: true,
	}
	for _, addr := range g.Addrs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, addr.AsSlice())
	}
	return tmpl
}

// IssueServer makes a key and a certificate, followed by the CA's, for a server that is not
// the node, on the addresses and names of this manager and at others: clients which trust the
// CA trust it, and no node takes it for another's. It names no node and no role, and is of
// no use to a client.
func (ca *CA) IssueServer(id *Identity, names []string, also ...netip.Addr) (cert, key []byte, err error) {
	g := id.managerGrant()
	g.Addrs, g.Names = append(g.Addrs, also...), append(g.Names, names...)
	return ca.issueServer(g)
}

// IssueLocal is IssueServer for servers on the loopback address of any machine, with the names.
func (ca *CA) IssueLocal(names ...string) (cert, key []byte, err error) {
	return ca.issueServer(Grant{Names: names})
}

func (ca *CA) issueServer(g Grant) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	g.From, g.Until = now.Add(-min(skewMargin, NodeLife()/10)), now.Add(NodeLife())
	tmpl := g.template()
	tmpl.Subject = pkix.Name{CommonName: "crawlbox server"}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	key, err = keyPEM(private)
	return append(certPEM(der), ca.PEM()...), key, err
}

// ManagerIdentity returns the identity of the manager that has the CA. It is made
// and kept in dir at first; later only the certificate is issued again, when it
// is due or when the manager's name or address changed. The error is
// ErrOtherCluster or ErrOtherRole where dir belongs to another node.
func ManagerIdentity(dir string, ca *CA, self Self, member Membership) (*Identity, error) {
	id, err := LoadIdentity(dir)
	if errors.Is(err, ErrNotJoined) {
		return newManager(dir, ca, self, member)
	}
	if err != nil {
		return nil, err
	}
	if id.CA() != ca.Hash() {
		return nil, ErrOtherCluster
	}
	if id.Node.Role != fleet.RoleManager {
		return nil, ErrOtherRole
	}
	unmarked := !HoldsCA(id.Certificate().Leaf) // of a version before marks
	moved := id.Self.Name != self.Name || id.Self.Addr != self.Addr
	member.ManagerIDs = id.member.ManagerIDs // until Swarm is asked, which may want another manager
	id.Self, id.member = self, member
	id.member.Cluster = ca.Hash().ClusterID()
	if moved || unmarked || id.NeedsRenewal(time.Now()) {
		return id, ca.Reissue(id)
	}
	return id, id.Save()
}

func newManager(dir string, ca *CA, self Self, member Membership) (*Identity, error) {
	key, _, err := NodeKey(dir)
	if err != nil {
		return nil, err
	}
	id := NewIdentity(dir, key, ca.cert, self, member)
	id.member.Cluster = ca.Hash().ClusterID()
	return id, ca.Reissue(id)
}

// Reissue gives the manager that has the CA a new certificate for its key, and
// saves it.
func (ca *CA) Reissue(id *Identity) error {
	if err := CheckAddr(id.Self.Addr); err != nil {
		return fmt.Errorf("issue manager's certificate for %s: %w", id.Self.Addr, err)
	}
	der, err := id.CSR()
	if err != nil {
		return err
	}
	csr, err := ParseCSR(der)
	if err != nil {
		return fmt.Errorf("issue manager's certificate: %w", err)
	}
	cert, err := ca.Issue(csr, id.managerGrant())
	if err != nil {
		return fmt.Errorf("issue manager's certificate: %w", err)
	}
	if err := id.Use(cert.Raw); err != nil {
		return fmt.Errorf("use manager's certificate: %w", err)
	}
	return id.Save()
}

func (id *Identity) managerGrant() Grant {
	g := Grant{
		Role:    fleet.RoleManager,
		HoldsCA: true,
		Epoch:   max(id.Membership().Renew, id.Membership().Epoch),
		Addrs:   []netip.Addr{id.Self.Addr.Unmap()},
	}
	if IsHostName(id.Self.Name) {
		g.Names = []string{id.Self.Name}
	}
	return g
}
