package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// layerPushed is the size of the layer that BenchmarkPushThree pushes, in bytes.
const layerPushed = 1 << 30

// BenchmarkPushThree pushes an image with one layer of 1 GiB from another host over links of 100 Mbit/s, to a
// cluster with one manager and to one with three, where the push is answered once two of them have it: ratio is
// how much longer that takes.
func BenchmarkPushThree(b *testing.B) {
	var took []time.Duration
	for _, n := range []int{1, 3} {
		l := newBenchLab(b)
		hosts := l.AddHosts(n+1, lab.Rate("100mbit"))
		client, managers := hosts[0], hosts[1:]
		p := managers[0].Start("crawlbox", "crawlbox", "manager")
		lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
		for _, h := range managers[1:] {
			var join api.Token
			askAPI(b, managers[0], http.MethodGet, "/v1/token?role=manager", nil, &join)
			p := h.Start("crawlbox", "crawlbox", "manager", "--join", join.Join)
			lab.WaitFor(b, patience, h.Name(), func() error { return said(p, "manager is ready") })
		}
		lab.WaitFor(b, patience, "all managers on the list", func() error {
			shown := managers[0].Exec(b.Context(), "crawlbox", "state", "show", "replicas")
			return want(strings.Count(shown.Stdout, `"node"`), n)
		})
		took = append(took, pushFrom(b, client, managers[n-1]))
		b.ReportMetric(took[len(took)-1].Seconds(), fmt.Sprintf("s/%d-managers", n))
		for _, h := range hosts {
			h.PowerOff()
		}
	}
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// pushFrom pushes the layer in an image from a host, and returns how long that takes.
func pushFrom(b *testing.B, client, to *lab.Host) time.Duration {
	b.Helper()
	var login api.RegistryLogin
	askAPI(b, to, http.MethodPost, "/v1/registry/accounts/bench", nil, &login)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(login.CA))
	from := &http.Client{Transport: &http.Transport{
		DialContext:     client.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: trusted},
	}}
	call := func(method, path, kind string, body io.Reader, want int) http.Header {
		req, err := http.NewRequestWithContext(b.Context(), method, "https://"+to.At(8003)+path, body)
		if err != nil {
			b.Fatal(err)
		}
		req.SetBasicAuth(login.User, login.Password)
		req.Header.Set("Content-Type", kind)
		resp, err := from.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			b.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
		}
		return resp.Header
	}
	blob := func(size int64) (d digest.Digest) {
		noise := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
		d, err := digest.FromReader(noise())
		if err != nil {
			b.Fatal(err)
		}
		at := call(http.MethodPost, "/v2/bench/blobs/uploads/", "", nil, http.StatusAccepted).Get("Location")
		at = call(http.MethodPatch, at, "application/octet-stream", noise(), http.StatusAccepted).Get("Location")
		call(http.MethodPut, at+"&digest="+d.String(), "", nil, http.StatusCreated)
		return d
	}
	begun := time.Now()
	config, layer := blob(100), blob(layerPushed)
	const kind = "application/vnd.oci.image."
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%smanifest.v1+json","config":{"mediaType":"%sconfig.v1+json",`+
		`"digest":"%s","size":100},"layers":[{"mediaType":"%slayer.v1.tar","digest":"%s","size":%d}]}`,
		kind, kind, config, kind, layer, layerPushed)
	call(http.MethodPut, "/v2/bench/manifests/1", kind+"manifest.v1+json", strings.NewReader(manifest),
		http.StatusCreated)
	return time.Since(begun)
}
