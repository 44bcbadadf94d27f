package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

const (
	// dialTimeout bounds how long one address may take until TLS stands.
	dialTimeout = 5 * time.Second
	// exchangeTimeout bounds request and answer after that.
	exchangeTimeout = 15 * time.Second
)

// pin checks that a server is a manager of the cluster whose CA has the hash.
type pin struct {
	hash KeyHash
	ca   *x509.Certificate // set once checked
	// expired is why the certificate is not good by this machine's clock. The
	// handshake goes on, so that the manager can be asked for its time.
	expired error
}

// verify is a tls.Config.VerifyConnection. It runs before the client sends
// anything of its own.
func (p *pin) verify(state tls.ConnectionState) error {
	for _, cert := range state.PeerCertificates[1:] {
		if hashOf(cert) == p.hash && cert.IsCA && cert.CheckSignatureFrom(cert) == nil {
			p.ca = cert
		}
	}
	if p.ca == nil {
		return ErrImpostor
	}
	root := x509.NewCertPool()
	root.AddCert(p.ca)
	leaf := state.PeerCertificates[0]
	// Who it is does not depend on the time; a time at which it must be good.
	inLife := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	info, err := verifyServer(state, root, inLife)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrImpostor, err)
	}
	if info.Role != fleet.RoleManager {
		return errors.New("it is a worker of the cluster: use the address of a manager")
	}
	_, p.expired = verifyServer(state, root, time.Now())
	return nil
}

// dial opens a TLS connection. Errors say in one line what is there and what to do.
func dial(ctx context.Context, addr netip.AddrPort, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, explainDial(err, addr)
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, explainHandshake(err)
	}
	return conn, nil
}

// connHTTP returns an HTTP client that speaks over this connection only.
func connHTTP(conn net.Conn) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			MaxResponseHeaderBytes: 16 << 10,
			MaxConnsPerHost:        1,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       exchangeTimeout,
	}
}

// errStranger is the error for what speaks TLS and HTTP, but not ours.
var errStranger = errors.New("it does not answer as a crawlbox manager does: check the address and the version there")

// get asks for what needs no body.
func get(ctx context.Context, client *http.Client, url string) (told time.Time, err error) {
	return call(ctx, client, http.MethodGet, url, nil, nil)
}

// post sends a value as JSON and reads the answer into out.
func post(ctx context.Context, client *http.Client, url string, in, out any) (told time.Time, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return time.Time{}, err
	}
	return call(ctx, client, http.MethodPost, url, bytes.NewReader(body), out)
}

// call returns the time the manager told. A refusal is the error it stands for.
func call(ctx context.Context, client *http.Client, method, url string, body io.Reader, out any) (told time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return time.Time{}, explainCall(ctx, err)
	}
	defer resp.Body.Close()
	data, err := bound.ReadAll(resp.Body, maxAnswer)
	if err != nil {
		return time.Time{}, explainCall(ctx, err)
	}
	var no refusal
	if json.Unmarshal(data, &no) != nil || no.Time.IsZero() {
		return time.Time{}, errStranger
	}
	if resp.StatusCode == http.StatusOK && out != nil {
		if json.Unmarshal(data, out) != nil {
			return no.Time, errStranger
		}
	}
	if resp.StatusCode != http.StatusOK {
		return no.Time, no.err()
	}
	return no.Time, nil
}

// Refused returns the refusal that the body of a manager's answer stands for, nil
// where it is none.
func Refused(body []byte) error {
	var no refusal
	if json.Unmarshal(body, &no) != nil || no.Code == "" {
		return nil
	}
	return no.err()
}

func (r refusal) err() error {
	for _, known := range refusals {
		if r.Code == known.code {
			return known.err
		}
	}
	return errStranger
}
