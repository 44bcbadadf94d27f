package pieces

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// pullCluster is a manager's registry, and mirrors of it that exchange pieces, all
// on loopback: their nodes' ports speak TLS, and the name of a node is its address.
type pullCluster struct {
	t        *testing.T
	registry *registry.Registry
	direct   *httptest.Server // the registry as the manager's Docker sees it
	manager  *httptest.Server // its port between nodes
}

// pullNode is a worker: the registry of its Docker.
type pullNode struct {
	*mirror.Mirror
	local *httptest.Server
}

// openRegistry opens an embedded registry in a directory of the test.
func openRegistry(t *testing.T, o registry.Options) *registry.Registry {
	t.Helper()
	o.Dir, o.MinFree = t.TempDir(), -1
	r, err := registry.Open(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func startPullCluster(t *testing.T) *pullCluster {
	t.Helper()
	reg := openRegistry(t, registry.Options{})
	c := &pullCluster{t: t, registry: reg, direct: httptest.NewServer(reg.Handler())}
	t.Cleanup(c.direct.Close)
	c.manager = c.nodePort(registry.ReadOnly(
		reg.Handler()), func(network exchange.Network, self string) *exchange.Exchange {
		return exchange.New(exchange.Options{Store: Store{reg}, Network: network, Self: self},
			slog.New(slog.DiscardHandler))
	})
	return c
}

// sub is the cluster in a subtest, with which nodes leave that join in it.
func (c *pullCluster) sub(t *testing.T) *pullCluster {
	sub := *c
	sub.t = t
	return &sub
}

// nodePort serves images and pieces to the other nodes.
func (c *pullCluster) nodePort(images http.Handler,
	pieces func(exchange.Network, string) *exchange.Exchange) *httptest.Server {
	c.t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewUnstartedServer(mux)
	srv.StartTLS()
	c.t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().String()
	network := wire.NewLinks(c.client(srv, addr))
	c.t.Cleanup(network.Close)
	x := pieces(network, addr)
	mux.Handle(wire.Path, wire.NewServer(x, slog.New(slog.DiscardHandler)).Handler(
		func(h http.Handler) http.Handler { return h }, func(r *http.Request) string { return r.Header.Get("Node") }))
	mux.Handle("/v2/", images)
	return srv
}

// client trusts the nodes, whose certificate is one and the same here, and says who
// asks.
func (c *pullCluster) client(srv *httptest.Server, addr string) *http.Client {
	client := &http.Client{Transport: nodeNamed{srv.Client().Transport, addr}}
	c.t.Cleanup(srv.Client().CloseIdleConnections)
	return client
}

type nodeNamed struct {
	http.RoundTripper
	addr string
}

func (n nodeNamed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Node", n.addr)
	return n.RoundTripper.RoundTrip(r)
}

// join adds a worker with an empty mirror.
func (c *pullCluster) join() *pullNode {
	c.t.Helper()
	n := &pullNode{}
	kept := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Kept().ServeHTTP(w, r) })
	c.nodePort(kept, func(network exchange.Network, self string) *exchange.Exchange {
		m, err := mirror.Open(mirror.Options{
			Dir:     c.t.TempDir(),
			MinFree: -1,
			Source: &mirror.HTTPSource{
				Client: c.manager.Client(),
				Bases:  func() []string { return []string{c.manager.URL} },
			},
			Exchange: &exchange.Options{Network: network, Self: self,
				Trackers: func() []string { return []string{c.manager.Listener.Addr().String()} }},
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			c.t.Fatal(err)
		}
		n.Mirror = m
		return m.Exchange()
	})
	n.local = httptest.NewServer(n.Handler())
	c.t.Cleanup(func() {
		n.local.Close()
		if err := n.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return n
}

// push pushes an image with a layer of 1.3 MB, which comes in two pieces.
func (c *pullCluster) push(ref string) v1.Image {
	c.t.Helper()
	img, err := random.Image(1.3e6, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	to, err := name.ParseReference(c.direct.Listener.Addr().String()+"/"+ref, name.Insecure)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := remote.Write(to, img); err != nil {
		c.t.Fatal(err)
	}
	return img
}

// comparedHeaders are those that clients go by.
var comparedHeaders = []string{
	"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest",
	"Docker-Distribution-Api-Version", "Etag", "Link",
}

// answer is what a client sees of a response.
func (c *pullCluster) answer(srv *httptest.Server, method, path string, header http.Header) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, srv.URL+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := srv.Client().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	out := []string{resp.Status}
	failed := resp.StatusCode >= http.StatusBadRequest
	for _, h := range comparedHeaders {
		if failed && h != "Content-Type" && h != "Content-Range" && h != "Docker-Distribution-Api-Version" {
			continue // the length of a message, and of what is not there
		}
		out = append(out, fmt.Sprintf("%s: %q", h, resp.Header.Values(h)))
	}
	var e struct{ Errors []struct{ Code string } }
	switch {
	case failed && json.Unmarshal(body, &e) == nil && len(e.Errors) > 0:
		out = append(out, "error "+e.Errors[0].Code)
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "multipart/"):
		out[1] = "multipart" // its boundary differs from answer to answer
		out[2] = ""
	case !failed:
		out = append(out, fmt.Sprintf("%d bytes %x", len(body), sha256.Sum256(body)))
	}
	return strings.Join(out, "\n")
}

// TestPull compares what a worker's registry answers with what the manager's own
// does, while the mirror has nothing yet, and once it has been asked before.
func TestPull(t *testing.T) {
	t.Parallel()
	c := startPullCluster(t)
	img := c.push("team/spider:0.01")
	for _, tag := range []string{"0.02", "0.03", "latest"} {
		c.push("team/spider:" + tag)
	}
	other := c.join() // a peer that has all of it
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	byDigest, byTag := "/v2/team/spider/manifests/"+manifest.String(), "/v2/team/spider/manifests/0.01"
	blob := "/v2/team/spider/blobs/" + layer.String()
	other.warm(t, blob)
	none := "sha256:" + strings.Repeat("0", 64)
	mediaType := "application/vnd.docker.distribution.manifest.v2+json"

	requests := []struct {
		path   string
		header http.Header
	}{
		{path: "/v2/"},
		{path: byDigest},
		{path: byDigest, header: http.Header{"Accept": {mediaType}}},
		{path: byDigest, header: http.Header{"If-None-Match": {`"` + manifest.String() + `"`}}},
		{path: byTag},
		{path: byTag, header: http.Header{"Accept": {mediaType}}},
		{path: byTag, header: http.Header{"If-None-Match": {`"` + manifest.String() + `"`}}},
		{path: "/v2/team/spider/manifests/none"},
		{path: "/v2/team/spider/manifests/" + none},
		{path: "/v2/team/spider/manifests/sha256:short"},
		{path: "/v2/team/spider/manifests/-0"},
		{path: "/v2/nobody/manifests/0.01"},
		{path: "/v2/UPPER/manifests/0.01"},
		{path: "/v2/team/spider/blobs/" + config.String()},
		{path: blob},
		{path: blob, header: http.Header{"Range": {"bytes=0-0"}}},
		{path: blob, header: http.Header{"Range": {"bytes=0-99"}}},
		{path: blob, header: http.Header{"Range": {"bytes=1100000-"}}},
		{path: blob, header: http.Header{"Range": {"bytes=-50"}}},
		{path: blob, header: http.Header{"Range": {"bytes=1299000-99999999"}}},
		{path: blob, header: http.Header{"Range": {"bytes=0-9,100-109"}}},
		{path: blob, header: http.Header{"Range": {"bytes=99999999-"}}},
		{path: blob, header: http.Header{"Range": {"bytes=9-0"}}},
		{path: blob, header: http.Header{"Range": {"lines=1-2"}}},
		{path: blob, header: http.Header{"Range": {"bytes=0-9"}, "If-Range": {`"other"`}}},
		{path: blob, header: http.Header{"If-None-Match": {`"` + layer.String() + `"`}}},
		{path: "/v2/team/spider/blobs/" + none},
		{path: "/v2/team/spider/blobs/" + none, header: http.Header{"Range": {"bytes=0-9"}}},
		{path: "/v2/team/spider/blobs/sha256:short"},
		{path: "/v2/team/spider/blobs/md5:d41d8cd98f00b204e9800998ecf8427e"},
		{path: "/v2/nobody/blobs/" + none},
		{path: "/v2/team/spider/tags/list"},
		{path: "/v2/team/spider/tags/list?n=2"},
		{path: "/v2/team/spider/tags/list?n=2&last=0.02"},
		{path: "/v2/team/spider/tags/list?n=0"},
		{path: "/v2/team/spider/tags/list?n=-1"},
		{path: "/v2/team/spider/tags/list?n=x"},
		{path: "/v2/team/spider/tags/list?last=zzz"},
		{path: "/v2/nobody/tags/list"},
		{path: "/v2/_catalog"},
		{path: "/v2/_catalog?n=1"},
		{path: "/v2/team/spider/referrers/" + manifest.String()},
		{path: "/v2/nowhere"},
		{path: "/v2/team/spider/blobs/"},
	}
	t.Run("requests", func(t *testing.T) {
		for _, r := range requests {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				t.Run(fmt.Sprint(method, " ", r.path, " ", r.header), func(t *testing.T) {
					t.Parallel()
					c := c.sub(t)
					want := c.answer(c.direct, method, r.path, r.header)
					n := c.join()
					for _, when := range []string{"cold", "asked before", "with all of it kept"} {
						if when == "with all of it kept" {
							if r.path != byDigest && r.path != blob {
								break
							}
							n.warm(t, r.path)
						}
						if got := c.answer(n.local, method, r.path, r.header); got != want {
							t.Errorf("%s, the mirror answers\n%s\nand the registry\n%s", when, got, want)
						}
					}
				})
			}
		}
	})
	if s := other.Stats().Pieces; s.FromTrackers == 0 || s.Sent == 0 {
		t.Errorf("the pieces did not go through the nodes: %+v", s)
	}
}

// warm returns when all of it is kept, which is a moment after the last byte came.
func (n *pullNode) warm(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		n.pull(t, p)
	}
	for deadline := time.Now().Add(10 * time.Second); n.Stats().Files < len(paths); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d files are kept", n.Stats().Files, len(paths))
		}
	}
}

func (n *pullNode) pull(t *testing.T, path string) {
	t.Helper()
	resp, err := n.local.Client().Get(n.local.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
}
