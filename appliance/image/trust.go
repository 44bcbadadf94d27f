package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// trustTransport reaches registries that are trusted.
type trustTransport struct{ *http.Transport }

// trust makes what reaches the registry at a host, which may have a port. Docker's
// directory certs has a directory HOST:PORT for each registry whose CA the machine does not
// know.
func trust(certs, host string) (trustTransport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	files, _ := filepath.Glob(filepath.Join(certs, host, "*.crt")) // fails for a bad pattern only
	for _, path := range files {
		pem, err := os.ReadFile(path)
		if err != nil {
			return trustTransport{}, fmt.Errorf("trust registry %s: %w", host, err)
		}
		roots.AppendCertsFromPEM(pem)
	}
	return trustTransport{&http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		IdleConnTimeout:       copyIdle,
	}}, nil
}

var errPlain = errors.New("it speaks no TLS, which is for loopback only")

// RoundTrip implements http.RoundTripper. A name with a private address is tried
// without TLS too by go-containerregistry, which Docker does only where it is told to.
func (t trustTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !onLoopback(req.URL.Hostname()) {
		return nil, errPlain
	}
	return t.Transport.RoundTrip(req)
}

func onLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
