package e2e

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// hub is a public registry at a name that only a manager can look up.
type hub struct {
	t     *testing.T
	name  string // with its port
	srv   *httptest.Server
	back  *httptest.Server // the same images, for the test itself
	pulls atomic.Int64     // manifests that were fetched, as public registries count
	limit atomic.Bool      // answers that there were too many
	shut  atomic.Bool      // wants the login ci with the password hush
}

// startHub runs one on a host. The name in its certificate is example.com.
func startHub(t *testing.T, on *lab.Host, manager *lab.Host) *hub {
	t.Helper()
	h := &hub{t: t, name: "example.com:5000"}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		manifest := strings.Contains(req.URL.Path, "/manifests/")
		user, password, _ := req.BasicAuth()
		switch {
		case h.shut.Load() && user+":"+password != "ci:hush":
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		case manifest && h.limit.Load():
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w,
				`{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`)
			return
		case manifest && req.Method == http.MethodGet:
			h.pulls.Add(1)
		}
		images.ServeHTTP(w, req)
	}))
	h.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.srv.Listener.Close()
	h.srv.Listener = on.Listen(on.At(5000))
	h.srv.StartTLS()
	t.Cleanup(h.srv.Close)
	h.back = httptest.NewServer(images)
	t.Cleanup(h.back.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.srv.Certificate().Raw})
	manager.WriteFile("/etc/docker/certs.d/"+h.name+"/ca.crt", string(ca))
	manager.MustExec("sh", "-c", "echo "+on.IP().String()+" example.com >>/etc/hosts")
	return h
}

// push gives the hub the tiny image for this machine and for another, as an index, and
// returns its digest.
func (h *hub) push(image string) (digest string) {
	h.t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"s390x", ""} {
		var options []artifact.ImageOption
		if arch != "" {
			options = append(options, artifact.Architecture(arch))
		}
		img, err := tarball.ImageFromPath(artifact.TinyImage(h.t, image, 100_000, options...), nil)
		if err != nil {
			h.t.Fatal(err)
		}
		file, err := img.ConfigFile()
		if err != nil {
			h.t.Fatal(err)
		}
		index = mutate.AppendManifests(index,
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: file.Platform()}})
	}
	ref, err := name.ParseReference(h.back.Listener.Addr().String() + strings.TrimPrefix(image, h.name))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		h.t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		h.t.Fatal(err)
	}
	return d.String()
}
