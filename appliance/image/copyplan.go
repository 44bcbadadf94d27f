package image

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/inprocess"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// layersAtOnce is how many layers come at the same time, as in the Docker Engine.
const layersAtOnce = 3

// copyPlan lists what a copy has to bring.
type copyPlan struct {
	platforms []fleet.Platform
	from      *origin // nil: nothing is brought
	into      name.Repository
	here      *remote.Puller // of what the cluster's registry has
	push      *remote.Pusher
	registry  inprocess.Transport

	manifests []*remote.Descriptor // an index after those in it
	layers    []v1.Layer           // with the configs
}

func (c *Copier) plan(into name.Repository, platforms []fleet.Platform) (p *copyPlan, err error) {
	p = &copyPlan{platforms: platforms, into: into, registry: inprocess.Transport{Handler: c.registry}}
	transport := remote.WithTransport(p.registry)
	if p.here, err = remote.NewPuller(transport); err == nil {
		p.push, err = remote.NewPusher(transport)
	}
	return p, err
}

// add plans for a manifest and what it needs, and returns it.
func (p *copyPlan) add(ctx context.Context, digest string) (*remote.Descriptor, error) {
	m, err := p.here.Get(ctx, p.into.Digest(digest))
	isHere := err == nil
	if !isHere && p.from != nil {
		m, err = p.from.puller.Get(ctx, p.from.ref.Context().Digest(digest))
	}
	switch {
	case err != nil:
	case m.MediaType.IsIndex():
		err = p.addChildren(ctx, m)
	case !isHere: // else the registry has what it needs
		err = p.addLayers(ctx, m)
	}
	if err == nil && !isHere {
		p.manifests = append(p.manifests, m)
	}
	return m, err
}

// addChildren plans for the images of an index that the platforms need.
func (p *copyPlan) addChildren(ctx context.Context, m *remote.Descriptor) error {
	index, err := m.ImageIndex()
	if err != nil {
		return err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, child := range list.Manifests {
		if !p.wants(child.Platform) {
			continue
		}
		if _, err := p.add(ctx, child.Digest.String()); err != nil {
			return err
		}
	}
	return nil
}

// wants reports whether some node may run what is for a platform. A build's attestations
// stand beside the images, for a platform that is unknown.
func (p *copyPlan) wants(child *v1.Platform) bool {
	return child == nil || slices.Contains(p.platforms, fleet.Platform{OS: child.OS, Arch: child.Architecture})
}

func (p *copyPlan) addLayers(ctx context.Context, m *remote.Descriptor) error {
	img, err := m.Image()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return err
	}
	for _, l := range append(layers, config) {
		missing, err := p.misses(ctx, l)
		if err != nil {
			return err
		}
		if missing {
			p.layers = append(p.layers, l)
		}
	}
	return nil
}

func (p *copyPlan) misses(ctx context.Context, l v1.Layer) (bool, error) {
	d, err := l.Digest()
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead,
		"http://"+p.into.RegistryStr()+"/v2/"+p.into.RepositoryStr()+"/blobs/"+d.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := p.registry.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusNotFound, nil
}

// run brings what is planned, the layers first.
func (p *copyPlan) run(ctx context.Context, t *tally) error {
	for _, l := range p.layers {
		size, err := l.Size()
		if err != nil {
			return err
		}
		t.now.Total += size
	}
	t.add(0)
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(layersAtOnce)
	for _, l := range p.layers {
		group.Go(func() error { return p.push.Upload(each, p.into, &talliedLayer{Layer: l, tally: t}) })
	}
	if err := group.Wait(); err != nil {
		return t.cause(err)
	}
	for _, m := range p.manifests {
		if err := p.push.Put(ctx, p.into.Digest(m.Digest.String()), m); err != nil {
			return err
		}
	}
	return nil
}

// tally adds up what has come.
type tally struct {
	see func(Copied)

	mu     sync.Mutex
	now    Copied
	failed error // of the registry that the layers come from
}

func (t *tally) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Bytes += n
	t.see(t.now)
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = err
}

// cause returns why an upload failed: what it had to read, if that failed, and not what the
// cluster's registry says to half of a layer.
func (t *tally) cause(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(t.failed, err)
}

// talliedLayer tells what has come of it, and takes that back if it was not all.
type talliedLayer struct {
	v1.Layer
	tally *tally
}

func (l *talliedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return &talliedReader{ReadCloser: r, tally: l.tally}, nil
}

type talliedReader struct {
	io.ReadCloser
	tally *tally
	read  int64
	whole bool
}

func (r *talliedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.read += int64(n)
	r.tally.add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		r.whole = true
	case err != nil:
		r.tally.fail(err)
	}
	return n, err
}

func (r *talliedReader) Close() error {
	if !r.whole {
		r.tally.add(-r.read)
	}
	return r.ReadCloser.Close()
}
