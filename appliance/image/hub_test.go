package image

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// hub is a registry from which images are copied.
type hub struct {
	*httptest.Server
	t     *testing.T
	host  string
	gets  sync.Map // path of a GET → true
	fails func(http.ResponseWriter, *http.Request) bool
}

func newHub(t *testing.T, start func(*httptest.Server)) *hub {
	t.Helper()
	h := &hub{t: t}
	images := gcr.New(gcr.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h.fails != nil && h.fails(w, req) {
			return
		}
		if req.Method == http.MethodGet {
			h.gets.Store(req.URL.Path, true)
		}
		images.ServeHTTP(w, req)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(h.Server)
	t.Cleanup(h.Close)
	h.host = h.Listener.Addr().String()
	return h
}

func plainHub(t *testing.T) *hub { return newHub(t, (*httptest.Server).Start) }

// got returns how often something was fetched whose path has the part.
func (h *hub) got(part string) (n int) {
	h.gets.Range(func(path, _ any) bool {
		if strings.Contains(path.(string), part) {
			n++
		}
		return true
	})
	h.gets.Clear()
	return n
}

func (h *hub) named(image string) reference.Named {
	h.t.Helper()
	ref, err := reference.ParseNormalizedNamed(h.host + "/" + image)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

// push makes an index of images for amd64 and arm64, with the attestation of a build.
func (h *hub) push(image string, below ...v1.Layer) {
	h.t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, p := range []v1.Platform{
		{OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm64", Variant: "v8"},
		{OS: "unknown", Architecture: "unknown"},
	} {
		own, err := random.Layer(30_000, types.OCILayer)
		if err != nil {
			h.t.Fatal(err)
		}
		img, err := mutate.AppendLayers(empty.Image, append(below[:len(below):len(below)], own)...)
		if err != nil {
			h.t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	ref, err := name.ParseReference(h.host+"/"+image, name.Insecure)
	if err == nil {
		err = remote.WriteIndex(ref, index, remote.WithTransport(h.Client().Transport))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
