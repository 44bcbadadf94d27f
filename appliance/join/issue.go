package join

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// grant is what a certificate is to say.
type grant struct {
	Role  string
	Names []string     // host names, beside localhost
	Addrs []netip.Addr // addresses, beside loopback

	Epoch   int  // see members
	HoldsCA bool // of the manager that signs
	Trial   bool // good for trialLife only

	from, until time.Time // zero: now, for nodeLife
}

// marks are what nodes of this version read in a certificate, and others pass over.
func (g grant) marks() []string {
	marks := []string{epochMark + strconv.Itoa(g.Epoch)}
	if g.HoldsCA {
		marks = append(marks, holderMark)
	}
	return marks
}

// issue signs a certificate for the key in a request.
func (ca *CA) issue(csr *x509.CertificateRequest, g grant) (*x509.Certificate, error) {
	info := NodeInfo{ID: idOf(csr.RawSubjectPublicKeyInfo), Role: g.Role}
	if now := time.Now(); g.from.IsZero() {
		// Half of a short life, as tests have it, must not be over at once.
		life := nodeLife()
		if g.Trial {
			life = min(life, trialLife)
		}
		g.from, g.until = now.Add(-min(skewMargin, life/10)), now.Add(life)
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

// template is what all certificates of a grant have.
func (g grant) template() *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(),
		NotBefore:    g.from,
		NotAfter:     g.until,
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
