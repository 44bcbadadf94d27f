package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// knock is one request, and answer what comes back.
type knock struct {
	method, path, body string
	header             http.Header
}

type answer struct {
	status int
	header http.Header // trailers too
	body   []byte
	err    error
}

// disguise is how somebody comes to a door.
type disguise struct {
	name   string
	from   *lab.Host
	scheme string
	tls    *tls.Config
}

func (h *heist) disguises() []disguise {
	h.Helper()
	with := func(cert *tls.Certificate) *tls.Config {
		return &tls.Config{
			InsecureSkipVerify:   true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
		}
	}
	stolen := h.stolen.Certificate()
	return []disguise{
		{"plain HTTP", h.stranger, "http", nil},
		{"no certificate", h.stranger, "https", &tls.Config{InsecureSkipVerify: true}},
		{"old TLS", h.stranger, "https", &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}},
		{"self-made certificate", h.stranger, "https", with(h.forge(nil))},
		{"certificate of a CA of the same name", h.stranger, "https", with(h.forge(h.clusterCA()))},
		{"certificate of the removed node", h.stranger, "https", with(stolen)},
		{"the removed node", h.removed, "https", with(stolen)},
	}
}

func (h *heist) clusterCA() *x509.Certificate {
	h.Helper()
	block, _ := pem.Decode(h.stolen.CAPEM())
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		h.Fatal(err)
	}
	return ca
}

// forge makes a certificate that says what that of a manager says. It is signed
// by itself, or by a CA that looks like another.
func (h *heist) forge(like *x509.Certificate) *tls.Certificate {
	h.Helper()
	key := h.newKey()
	leaf := *h.stolen.Certificate().Leaf
	leaf.SerialNumber, leaf.PublicKey = big.NewInt(1), key.Public()
	leaf.Subject.Organization = []string{"manager"}
	leaf.URIs[0].RawQuery = "role=manager"
	parent, signer := &leaf, key
	chain := [][]byte{}
	if like != nil {
		ca := *like
		signer = h.newKey()
		ca.PublicKey = signer.Public()
		chain = append(chain, h.sign(&ca, &ca, signer.Public(), signer))
		parent = &ca
	}
	return &tls.Certificate{
		Certificate: append([][]byte{h.sign(&leaf, parent, key.Public(), signer)}, chain...),
		PrivateKey:  key,
	}
}

func (h *heist) newKey() *ecdsa.PrivateKey {
	h.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	return key
}

func (h *heist) sign(cert, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) []byte {
	h.Helper()
	cert.SignatureAlgorithm = x509.ECDSAWithSHA256
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, key)
	if err != nil {
		h.Fatal(err)
	}
	return der
}

// client speaks from a host. What it is shown when TLS begins is looked at too:
// a manager's certificate names the manager to anybody, and any node's its ID.
func (h *heist) client(from *lab.Host, conf *tls.Config) *http.Client {
	if conf != nil {
		conf = conf.Clone()
		before := conf.VerifyConnection
		conf.VerifyConnection = func(state tls.ConnectionState) error {
			for _, cert := range state.PeerCertificates {
				h.loot.in(h.T, "certificate", cert.Raw, "name of the manager", "ID of the manager", "ID of the worker")
			}
			if before != nil {
				return before(state)
			}
			return nil
		}
	}
	tr := &http.Transport{
		DialContext:           from.DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   quick,
		ResponseHeaderTimeout: quick,
	}
	h.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		Timeout:       quick,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (h *heist) send(client *http.Client, scheme string, host *lab.Host, port int, k knock) (a answer) {
	ctx, cancel := context.WithTimeout(h.Context(), quick)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, k.method, scheme+"://"+addrOf(host, port)+k.path,
		strings.NewReader(k.body))
	if err != nil {
		return answer{err: err}
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		a.err = err
	}
	a.header = resp.Header
	maps.Copy(a.header, resp.Trailer)
	return a
}

// text is all of an answer, for loot.
func (a answer) text() []byte { return fmt.Appendf(nil, "%s\n%v", a.body, a.header) }

// tryHTTP sends everything in every disguise, and sees that a node of the cluster
// would have got something by it.
func (h *heist) tryHTTP(host *lab.Host, d door) {
	h.Helper()
	knocks := h.knocks()
	var all sync.WaitGroup
	for _, who := range h.disguises() {
		all.Go(func() {
			client := h.client(who.from, who.tls)
			for _, k := range knocks {
				h.refused(who, host, d, k, h.send(client, who.scheme, host, d.port, k))
			}
		})
	}
	all.Wait()
	id, k := h.entitled(host, d)
	node := h.send(h.client(h.stranger, id.ClientTLS()), "https", host, d.port, k)
	if node.err != nil || node.status != http.StatusOK {
		h.Errorf("%s %s with the certificate of a %s at %s of %s gets %d, %v: nothing is shown by others getting "+
			"as much",
			k.method, k.path, id.Node.Role, d, host.Name(), node.status, node.err)
	}
}

// entitled is one of the requests, and the identity of a node that may send it.
func (h *heist) entitled(host *lab.Host, d door) (*pki.Identity, knock) {
	h.Helper()
	path := "/v2/" + h.image.name + "/manifests/" + h.image.tag
	switch {
	case host == h.worker:
		return h.copyIdentity(h.manager), knock{method: "POST", path: "/v1/owner", body: h.bodies()["/v1/owner"]}
	case d.port == 8003:
		path = "/token"
	}
	return h.live, knock{method: "GET", path: path}
}

// refused fails the test unless an answer is an error, and says nothing.
func (h *heist) refused(who disguise, host *lab.Host, d door, k knock, a answer) {
	h.Helper()
	what := fmt.Sprintf("%s %s at %s of %s by %s from %s", k.method, k.path, d, host.Name(), who.name, who.from.Name())
	h.loot.in(h.T, what, a.text())
	// Everybody may know the time, and the certificate that each handshake shows.
	tells := host == h.manager && d.port == 7980 && (k.path == "/v1/time" || k.path == "/v1/ca") &&
		(k.method == "GET" || k.method == "HEAD")
	switch {
	case a.err != nil:
		if !hungUp(a.err) {
			h.Errorf("%s: %v", what, a.err)
		}
	case tells && a.status == http.StatusOK && who.scheme == "https":
	// which is tried too
	case a.status == http.StatusTemporaryRedirect && a.header.Get("Location") == path.Clean(k.path):
	case a.status < 400 || a.status > 503:
		h.Errorf("%s: %d %s", what, a.status, a.body)
	}
}

// hungUp reports whether the other end ended a connection instead of an answer.
func hungUp(err error) bool {
	var alert tls.AlertError
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &alert) || errors.As(err, &op) && op.Op == "remote error"
}

// knocks are all methods on all paths that exist, on either port, and some that
// don't; with what could fool a server.
func (h *heist) knocks() (list []knock) {
	v2, bodies := "/v2/"+h.image.name, h.bodies()
	tricks := http.Header{
		"X-Forwarded-For": {h.worker.IP().String()},
		"X-Real-Ip":       {"127.0.0.1"},
		"Forwarded":       {"for=127.0.0.1;host=localhost:8003;proto=https"},
		"User-Agent":      {"docker/20.10.24"},
		"Content-Type":    {h.image.mediaType},
	}
	paths := []string{
		"/", "/v2/", "/v2/_catalog", "/v2/_catalog?n=1000", v2 + "/tags/list",
		v2 + "/manifests/" + h.image.tag, v2 + "/manifests/" + h.image.digest, v2 + "/blobs/" + h.image.blob,
		v2 + "/referrers/" + h.image.digest,
		v2 + "/blobs/uploads/", "/v2/new/blobs/uploads/?from=" + h.image.name + "&mount=" + h.image.blob,
		"/v2/new/blobs/uploads/00000000-0000-4000-8000-000000000000", "/v2/new/manifests/1",
		"/token", "/token?service=crawlbox&scope=repository:" + h.image.name + ":pull,push", "/token/../v2/_catalog",
		"/v1/join", "/v1/renew", "/v1/follow", "/v1/leave", "/v1/owner", "/v1/time", "/v1/stage", "/v1/unstage",
		"/v1/kill", "/v1/container", "/v1/held",
		"/v1/upgrade", "/v1/upgrade/state", "/v1/program/" + strings.Repeat("0", 64), "/v1/ca", "/v1/bootstrap",
		"/v1/bootstrap/program",
		"/v1/pieces/mux", "/v1/pieces/" + h.image.blob, "/v1/pieces/" + h.image.blob + "/join",
		"/v1/pieces/" + h.image.blob + "/news", "/v1/pieces/" + h.image.blob + "/take",
		"/v1/status", "/v1/nodes", "/v1/token", "/v1/images", "/v1/queue", "/metrics", "/debug/pprof/",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			body, ok := bodies[path]
			if !ok {
				body = "x"
			}
			if method == "GET" || method == "HEAD" {
				body = ""
			}
			list = append(list, knock{method, path, body, tricks})
		}
	}
	for _, auth := range []string{
		"Basic YWRtaW46YWRtaW4=", "Basic Og==", "Bearer", "Bearer x", "Bearer eyJhbGciOiJub25lIn0.eyJhY2Nlc3MiOltdfQ.",
	} {
		for _, path := range []string{
			"/v2/", "/v2/_catalog", "/token", v2 + "/manifests/" + h.image.tag, "/v1/follow", "/v1/bootstrap/program",
		} {
			list = append(list, knock{"GET", path, "", http.Header{"Authorization": {auth}}})
		}
	}
	return list
}

// bodies are what a server may want to see before it looks at who sends it.
func (h *heist) bodies() map[string]string {
	return map[string]string{
		"/v2/" + h.image.name + "/manifests/" + h.image.tag:    h.image.manifest,
		"/v2/" + h.image.name + "/manifests/" + h.image.digest: h.image.manifest,
		"/v2/new/manifests/1":                                  h.image.manifest,
		"/v1/join":                                             `{"version":1,"token":"aaaaaaaa","secret":"AAAAAAAAAAAAAAAAAAAAAA==","role":"worker","csr":"","name":"x","addr":"10.99.0.9","crawlbox":"dev"}`,
		"/v1/renew":                                            `{"version":1,"csr":"","addr":"10.99.0.9","ticket":true}`,
		"/v1/follow":                                           `{"version":1,"have":"","swarm":""}`,
		"/v1/leave": `{"node":"` + h.loot["ID in the swarm of the worker"] +
			`"}`,
		"/v1/stage":     fmt.Sprintf(`{"image":%q}`, "localhost:8003/x@sha256:"+strings.Repeat("0", 64)),
		"/v1/unstage":   fmt.Sprintf(`{"images":[%q]}`, "localhost:8003/x@sha256:"+strings.Repeat("0", 64)),
		"/v1/kill":      `{"tasks":["x"]}`,
		"/v1/upgrade":   fmt.Sprintf(`{"version":"1","arch":"amd64","sha256":"%s","size":1}`, strings.Repeat("0", 64)),
		"/v1/container": `{"id":"0123456789ab"}`,
		"/v1/owner":     fmt.Sprintf(`{"local":%q,"remote":[%q]}`, h.worker.At(1), h.manager.At(8003)),
	}
}

// pullsNothing asks the way that a node does which has not heard of its removal.
func (h *heist) pullsNothing() {
	h.Helper()
	for _, registry := range []string{"localhost:8003", addrOf(h.manager, 8003)} {
		ctx, cancel := context.WithTimeout(h.Context(), quick)
		r := h.removed.Exec(ctx, "docker", "pull", registry+"/"+h.image.name+":"+h.image.tag)
		cancel()
		h.Log(strings.TrimSpace(r.Stderr))
		if r.Code != 1 {
			h.Errorf("docker pull from %s ends with %d: %s%s", registry, r.Code, r.Stdout, r.Stderr)
		}
	}
}

// rebound is DNS rebinding: the manager's Docker may read the registry, but here
// it is sent there under a name that is somebody else's. A page in a browser on
// the manager could do no more than that.
func (h *heist) rebound() {
	h.Helper()
	const foreign = "rebound.example:8003"
	h.manager.WriteFile("/etc/hosts", h.manager.ReadFile("/etc/hosts")+"\n127.0.0.1 rebound.example\n")
	pull := func(registry string) lab.Result {
		ctx, cancel := context.WithTimeout(h.Context(), quick)
		defer cancel()
		return h.manager.Exec(ctx, "docker", "pull", registry+"/"+h.image.name+":"+h.image.tag)
	}
	if err := pull("localhost:8003").Err(); err != nil {
		h.Errorf("the manager's Docker cannot pull by the right name: %v", err)
	}
	r := pull(foreign)
	if r.Code != 1 {
		h.Errorf("docker pull from %s ends with %d: %s%s", foreign, r.Code, r.Stdout, r.Stderr)
	}
	contains(h.T, r.Stderr, "the registry is not called", foreign)

	client := h.client(h.manager, nil)
	for name, header := range map[string]http.Header{
		"Origin":         {"Origin": {"http://localhost:8003"}},
		"Sec-Fetch-Site": {"Sec-Fetch-Site": {"cross-site"}},
	} {
		req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://127.0.0.1:8003/v2/_catalog", nil)
		if err != nil {
			h.Fatal(err)
		}
		req.Header = header
		resp, err := client.Do(req)
		if err != nil {
			h.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			h.Errorf("with %s the answer is %s", name, resp.Status)
		}
		contains(h.T, string(body), "does not serve web pages")
		h.loot.in(h.T, name, body)
	}
}

// trySwarm speaks gRPC to Swarm's managers without a certificate of the swarm.
// What strangers get there is Docker's to answer for; this is to know that the
// port is not opened wider by how crawlbox makes the swarm.
func (h *heist) trySwarm(host *lab.Host, d door) {
	h.Helper()
	client := &http.Client{
		Timeout: quick,
		Transport: &http.Transport{
			DialContext:       h.stranger.DialContext,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
		},
	}
	defer client.CloseIdleConnections()
	for _, call := range []string{
		"Control/ListNodes", "Control/ListServices", "Control/ListSecrets", "Dispatcher/Session", "RaftMembership/Join",
		"Logs/SubscribeLogs",
	} {
		a := h.send(client, "https", host, d.port,
			knock{"POST", "/docker.swarmkit.v1." + call, "\x00\x00\x00\x00\x00", http.Header{
				"Content-Type": {"application/grpc"},
				"Te":           {"trailers"},
			}})
		h.loot.in(h.T, call, a.text())
		if code := a.header.Get("Grpc-Status"); a.err != nil || code != "7" { // permission denied
			h.Errorf("%s: %d, %v, %s", call, a.status, a.err, a.text())
		}
	}
}
