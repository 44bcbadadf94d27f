package enroll

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
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// dialTimeout bounds how long one address may take until TLS stands.
	dialTimeout = 5 * time.Second
	// exchangeTimeout bounds request and answer after that.
	exchangeTimeout = 15 * time.Second
)

// pin checks that a server is a manager of the cluster whose CA has the hash.
type pin struct {
	hash pki.KeyHash
	ca   *x509.Certificate // set once checked
	// expired is why the certificate is not good by this machine's clock. The
	// handshake goes on, so that the manager can be asked for its time.
	expired error
}

// verify is a tls.Config.VerifyConnection. It runs before the client sends
// anything of its own.
func (p *pin) verify(state tls.ConnectionState) error {
	for _, cert := range state.PeerCertificates[1:] {
		if pki.HashOf(cert) == p.hash && cert.IsCA && cert.CheckSignatureFrom(cert) == nil {
			p.ca = cert
		}
	}
	if p.ca == nil {
		return ErrImpostor
	}
	root := x509.NewCertPool()
	root.AddCert(p.ca)
	leaf := state.PeerCertificates[0]
	// Who it is does not depend on the time, so any time will do at which it must be good.
	inLife := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	info, err := pki.VerifyServer(state, root, inLife)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrImpostor, err)
	}
	if info.Role != fleet.RoleManager {
		return errors.New("it is a worker of the cluster: use the address of a manager")
	}
	_, p.expired = pki.VerifyServer(state, root, time.Now())
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

// errNotManager is the error for a server that speaks TLS and HTTP, but is not crawlbox.
var errNotManager = errors.New("it does not answer as a crawlbox manager does: check the address and the version there")

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
func call(ctx context.Context, client *http.Client, method, url string, body io.Reader,
	out any) (told time.Time, err error) {
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
		return time.Time{}, errNotManager
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return no.Time, no.err()
	case out != nil && json.Unmarshal(data, out) != nil:
		return no.Time, errNotManager
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
	return errNotManager
}

// Probe asks a manager of a join token for its time, and returns how far its clock is
// ahead. Nothing secret is sent. The error says in one line what is there instead of
// that manager.
func Probe(ctx context.Context, addr netip.AddrPort, ca pki.KeyHash) (skew time.Duration, err error) {
	p := &pin{hash: ca}
	conn, err := dial(ctx, addr, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection checks against the string's CA
		VerifyConnection:   p.verify,
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	client := connHTTP(conn)
	defer client.CloseIdleConnections()
	told, err := get(ctx, client, "https://"+addr.String()+pathTime)
	if err != nil {
		return 0, err
	}
	return time.Until(told), nil
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && ne.Timeout()
}

// explainDial says why there is no TCP connection.
func explainDial(err error, addr netip.AddrPort) error {
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there (%w): start `crawlbox manager` on that machine, or check the address",
			syscall.ECONNREFUSED)
	case isTimeout(err):
		return fmt.Errorf("no answer within %s (%w): check the address, and that firewalls let port %d/tcp through",
			dialTimeout, context.DeadlineExceeded, addr.Port())
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Errorf("there is no route to it: check the address and this machine's network (%w)",
			unwrapSyscall(err))
	}
	return fmt.Errorf("cannot connect: %w", err)
}

// explainHandshake says why there is no TLS.
func explainHandshake(err error) error {
	var plain tls.RecordHeaderError
	var other x509.UnknownAuthorityError
	switch {
	case errors.Is(err, ErrImpostor):
		return err
	case errors.As(err, &plain):
		return fmt.Errorf("what listens there does not speak TLS, so it is not crawlbox: check address and port (%w)",
			err)
	case errors.As(err, &other):
		return fmt.Errorf("its certificate is not of this cluster: check the address (%w)", err)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case isTimeout(err):
		return fmt.Errorf("it accepts connections but does not answer within %s (%w): check that crawlbox runs there",
			dialTimeout, context.DeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("it hung up, so it is not crawlbox or is just stopping (%w): check address and port", err)
	}
	return fmt.Errorf("cannot agree on TLS: %w", err)
}

// explainCall says why there is no answer.
func explainCall(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isTimeout(err) {
		return fmt.Errorf("it took the request but did not answer within %s (%w): look at its log", exchangeTimeout,
			context.DeadlineExceeded)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("it hung up before it answered (%w): look at its log", err)
	}
	return fmt.Errorf("%w (%s)", errNotManager, printable(err.Error()))
}

// printable shortens and cleans words from the other end, which may be many and
// steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text[:min(len(text), maxWords)])
}

// maxWords bounds the words of the other end in a message, in bytes.
const maxWords = 300

func unwrapSyscall(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// maxSkew is how far clocks may differ without being worth a word.
const maxSkew = 2 * time.Minute

// explainClock names the skew as the reason for a certificate that is not good
// by this machine's clock; unless the clocks agree.
func explainClock(manager, here time.Time, cause error) error {
	skew := manager.Sub(here).Round(time.Second)
	if skew.Abs() <= maxSkew {
		return fmt.Errorf("the manager's certificate is out of date: restart crawlbox there (%w)", cause)
	}
	return fmt.Errorf("%w: this machine's clock is %s the manager's: set it, for instance with `timedatectl set-ntp "+
		"true`, and run the same command again", ErrClock, skewText(skew))
}

func skewText(skew time.Duration) string {
	if skew > 0 {
		return fmt.Sprintf("%s behind", skew)
	}
	return fmt.Sprintf("%s ahead of", -skew)
}
