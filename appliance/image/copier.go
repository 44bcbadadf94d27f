package image

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// findTime bounds the question what an image is now, where nothing answers.
	findTime = 10 * time.Second
	// copyTime bounds the copy of one image, which the registry's collection leaves
	// alone for an hour. 7 GB come in it at 20 Mbit/s; the next try goes on from there.
	copyTime = 50 * time.Minute
	// copyIdle is how long a copy waits for the next byte.
	copyIdle = time.Minute
)

// Copier brings images of other registries, such as Docker Hub, into the one of this
// cluster. It asks them with the logins that docker has on this machine
// (~/.docker/config.json), else as anybody may. A registry is trusted as the Docker
// Engine does it: with the machine's CAs and those of certs.d, and without TLS on
// loopback only. It is safe for concurrent use.
type Copier struct {
	registry http.Handler // of this cluster
	certs    string
	turn     chan struct{} // of the one copy at a time: several would share the line
}

// NewCopier makes a Copier into a registry, given by the handler of its API, which is
// to take sparse indexes. certs is Docker's directory certs.d.
func NewCopier(registry http.Handler, certs string) *Copier {
	return &Copier{registry: registry, certs: certs, turn: make(chan struct{}, 1)}
}

// The ends of a copy that takes too long.
var (
	errTooLong = fmt.Errorf("it takes longer than %s", copyTime)
	errIdle    = fmt.Errorf("nothing came for %s", copyIdle)
)

// Find returns the digest of an image as its registry has it now. Errors are a
// *RefusedError, or wrap ErrNoRegistry.
func (c *Copier) Find(ctx context.Context, image reference.Named) (digest.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	// A machine without Internet must hear of it at once.
	from, err := c.open(image, remote.WithRetryPredicate(answered))
	if err != nil {
		return "", err
	}
	defer from.close()
	// Docker Hub does not count HEAD as a pull. Its answers have no body, so that an
	// error is asked for again, as is the digest of registries that leave it out.
	found, err := from.puller.Head(ctx, from.ref)
	if err == nil {
		return digest.Digest(found.Digest.String()), nil
	}
	if !unanswered(err) {
		got, again := from.puller.Get(ctx, from.ref)
		if again == nil {
			return digest.Digest(got.Digest.String()), nil
		}
		err = again
	}
	return "", refused(image, name.Repository{}, err)
}

// Has reports whether the cluster's registry has a copy, named with its digest, with all
// that the platforms need of it.
func (c *Copier) Has(ctx context.Context, copied string, platforms []fleet.Platform) bool {
	ref, err := name.NewDigest(copied)
	if err != nil {
		return false
	}
	p, err := c.plan(ref.Context(), platforms)
	if err != nil {
		return false
	}
	_, err = p.add(ctx, ref.DigestStr())
	return err == nil
}

// Copied is how far a copy is, in bytes of what the cluster's registry did not have.
type Copied struct{ Bytes, Total int64 }

// Copy brings an image with the digest given into the cluster's registry, under the
// name copied: what the platforms need of it, and what is not there. An index stays as
// it is, so that its digest is the same, and lacks the images of other platforms. see
// is called when something has come, by one goroutine at a time. Errors are a
// *RefusedError, wrap ErrNoRegistry or are the cluster's registry's.
func (c *Copier) Copy(ctx context.Context, image reference.Named, d digest.Digest, copied string,
	platforms []fleet.Platform, see func(Copied)) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	into, err := name.ParseReference(copied)
	if err != nil {
		return err
	}
	from, err := c.open(image)
	if err != nil {
		return err
	}
	defer from.close()
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errTooLong)
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	idle := clock.NewSilence(copyIdle, func() { give(errIdle) })
	defer idle.Stop()
	t := &tally{see: func(now Copied) { idle.Heard(); see(now) }}
	if err = c.copy(ctx, from, d.String(), into, platforms, t); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return refused(image, into.Context(), err)
}

func (c *Copier) copy(ctx context.Context, from origin, d string, into name.Reference, platforms []fleet.Platform,
	t *tally) error {
	p, err := c.plan(into.Context(), platforms)
	if err != nil {
		return err
	}
	p.from = &from
	whole, err := p.add(ctx, d)
	if err != nil {
		return err
	}
	if err := p.run(ctx, t); err != nil {
		return err
	}
	if _, byTag := into.(name.Tag); byTag {
		return p.push.Put(ctx, into, whole)
	}
	return nil
}

// origin is the registry that an image comes from.
type origin struct {
	ref    name.Reference
	puller *remote.Puller
	close  func()
}

func (c *Copier) open(image reference.Named, options ...remote.Option) (origin, error) {
	ref, err := name.ParseReference(reference.TagNameOnly(image).String())
	if err != nil {
		return origin{}, err
	}
	trusted, err := trust(c.certs, reference.Domain(image))
	if err != nil {
		return origin{}, refused(image, name.Repository{}, err)
	}
	puller, err := remote.NewPuller(
		append(options, remote.WithTransport(trusted), remote.WithAuthFromKeychain(authn.DefaultKeychain),
			remote.WithRetryBackoff(remote.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Steps: 3}),
			remote.WithRetryStatusCodes(http.StatusInternalServerError, http.StatusBadGateway,
				http.StatusServiceUnavailable, http.StatusGatewayTimeout))...)
	return origin{ref, puller, trusted.CloseIdleConnections}, err
}

// CopyKept brings an image of the cluster's own, named with its digest, into the cluster's registry from
// a node that has it for its platform: its mirror answers at host, through transport.
func (c *Copier) CopyKept(ctx context.Context, transport http.RoundTripper, host, pinned string,
	platform fleet.Platform) error {
	named, d, _ := strings.Cut(pinned, "@")
	into, err := name.ParseReference(named)
	if err != nil {
		return err
	}
	repository := host + "/" + into.Context().RepositoryStr()
	ref, err := name.NewDigest(repository + "@" + d)
	if err != nil {
		return err
	}
	puller, err := remote.NewPuller(remote.WithTransport(unasked{transport}), remote.WithRetryPredicate(answered))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errTooLong)
	defer cancel()
	quiet := &tally{see: func(Copied) {}}
	return c.copy(ctx, origin{ref, puller, func() {}}, d, into, []fleet.Platform{platform}, quiet)
}

// unasked does not ask whether a registry is one: mirrors have only images.
type unasked struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t unasked) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v2/" {
		is := http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: req}
		return &is, nil
	}
	return t.RoundTripper.RoundTrip(req)
}
