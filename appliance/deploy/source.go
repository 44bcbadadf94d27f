package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
)

// Source is another registry that an image is from.
type Source struct {
	Registry string // such as docker.io
	Note     string // what the user should know of it; empty: nothing
	// Copy brings the image into the cluster's registry and tells how many bytes have
	// come of all that have to; nil: it is there, or does not come there.
	Copy func(ctx context.Context, see func(bytes, total int64)) error
}

// fetch brings the image into the cluster's registry. A nil Source has nothing to do.
func (s *Source) fetch(ctx context.Context, emit Emit) error {
	s.tell(emit)
	if s == nil || s.Copy == nil {
		return nil
	}
	var last time.Time
	return s.Copy(ctx, func(bytes, total int64) {
		if now := time.Now(); now.Sub(last) >= pullEmit || bytes == total {
			last = now
			emit(Progress{Stage: history.StageCopy, Copied: Copied{From: s.Registry, Bytes: bytes, Total: total}})
		}
	})
}

// tell emits what the user should know, if there is something.
func (s *Source) tell(emit Emit) {
	if s != nil && s.Note != "" {
		emit(Progress{Stage: history.StageCopy, Copied: Copied{From: s.Registry}, Note: s.Note})
	}
}

// copies reports whether the image is to be copied.
func (s *Source) copies() bool { return s != nil && s.Copy != nil }

// steps describes what is done before the stages.
func (s *Source) steps(image string) (steps []string) {
	if s != nil && s.Note != "" {
		steps = append(steps, "note: "+s.Note)
	}
	if s.copies() {
		steps = append(steps, fmt.Sprintf("copy: %s from %s into the cluster's registry", shortImage(image),
			s.Registry))
	}
	return steps
}

// Engine holds the methods of *swarm.Engine that Sources need.
type Engine interface {
	Digest(ctx context.Context, image string) (string, error)
	Nodes(ctx context.Context) ([]fleet.Node, error)
}

// Registry is the cluster's own, which Sources ask for existing copies.
type Registry interface {
	Digest(ctx context.Context, name string) (digest.Digest, error)
}

// Sources finds out what images are that services name, and from where nodes get them.
//
// An image of another registry, such as python:3.12-slim of Docker Hub, is named by
// its copy in the cluster's registry, localhost:8003/mirror/docker.io/library/python:3.12-slim,
// with the digest that it has there: nodes get it in pieces as all others, the Internet
// is asked once, by the manager, and what limits the number of pulls sees one. It is
// asked at each deploy what the tag is now.
//
// Base images of builds need none of that. The manager's engine pulls them, and no
// other node does: they are asked for once already, and what comes of them is pushed
// with what was built.
type Sources struct {
	engine Engine
	// copies is nil where images of other registries are left to each node's engine:
	// with registry.public: false, and on nodes without the registry.
	copies *copies
}

// copies finds and makes the copies in the manager's registry.
type copies struct {
	*image.Copier
	registry Registry
	port     uint16
	own      func(hostport string) bool // a name of the cluster's registry
	log      *slog.Logger
}

// NewSources returns the Sources of a node that does not copy images.
func NewSources(engine Engine) *Sources { return &Sources{engine: engine} }

// NewCopyingSources returns Sources that have images of other registries copied into
// the cluster's, which listens on port. own reports whether a host and port are names
// of that.
func NewCopyingSources(
	engine Engine, copier *image.Copier, registry Registry, port uint16, own func(hostport string) bool,
	log *slog.Logger,
) *Sources {
	return &Sources{engine: engine, copies: &copies{
		Copier:   copier,
		registry: registry,
		port:     port,
		own:      own,
		log:      log,
	}}
}

// Resolve names an image with its digest, as services are to name it. from is nil for
// one that the nodes get without a copy.
func (s *Sources) Resolve(ctx context.Context, named string) (pinned string, from *Source, err error) {
	ref := s.copies.external(named)
	if ref == nil {
		pinned, err = s.pin(ctx, named)
		return pinned, nil, err
	}
	platforms, err := s.platforms(ctx)
	if err != nil {
		return "", nil, err
	}
	pinned, from, err = s.copies.find(ctx, ref, platforms)
	if !errors.Is(err, image.ErrNoRegistry) {
		return pinned, from, s.copies.orOwn(ctx, ref, err)
	}
	// The engines may know another way to it: a proxy, or a mirror of their own.
	pinned, ownErr := s.pin(ctx, named)
	note := err.Error() + "; nothing is copied, and each node pulls the image itself"
	return pinned, &Source{Registry: reference.Domain(ref), Note: note}, s.copies.orOwn(ctx, ref, ownErr)
}

// orOwn returns how to name an image that no other registry gave, where the cluster's own has one that
// `crawlbox images` lists by the same name; else err.
func (c *copies) orOwn(ctx context.Context, ref reference.Named, err error) error {
	if err == nil {
		return nil
	}
	name := reference.FamiliarString(reference.TagNameOnly(ref))
	own := fmt.Sprintf("localhost:%d/%s", c.port, name)
	if _, missing := c.registry.Digest(ctx, own); missing != nil {
		return err
	}
	return words.Error(err, "%s is in this cluster's registry, and no other was found to have it: name it %s",
		name, own)
}

// pin asks the registry behind an image, by way of the engine, for its digest.
func (s *Sources) pin(ctx context.Context, named string) (string, error) {
	if strings.Contains(named, "@sha256:") {
		return named, nil
	}
	d, err := s.engine.Digest(ctx, named)
	return named + "@" + d, err
}

// platforms returns the platforms of all nodes, also of those that are down now.
func (s *Sources) platforms(ctx context.Context) (list []fleet.Platform, err error) {
	nodes, err := s.engine.Nodes(ctx)
	for _, n := range nodes {
		if p := n.Platform(); p.OS != "" && p.Arch != "" && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, err
}

// external reads the name of an image of another registry, or of the copy of one by its
// tag, which is what the tag is there. It is nil for what is the cluster's own, or can
// have no copy.
func (c *copies) external(named string) reference.Named {
	if c == nil {
		return nil
	}
	if !strings.Contains(named, "@") {
		named = fleet.FamiliarImage(named)
	}
	ref, err := reference.ParseNormalizedNamed(named)
	if err != nil || c.own(reference.Domain(ref)) || fleet.CopyName(c.port, ref) == "" {
		return nil
	}
	return ref
}

// find names the copy of an image, with its digest, and says how it gets here if it is
// not. Where the other registry can't say what its tag is now, it is what the copy was.
func (c *copies) find(ctx context.Context, ref reference.Named,
	platforms []fleet.Platform) (pinned string, from *Source, err error) {
	copied := fleet.CopyName(c.port, ref)
	_, byDigest := ref.(reference.Digested)
	if byDigest && c.Has(ctx, copied, platforms) {
		return copied, nil, nil
	}
	from = &Source{Registry: reference.Domain(ref)}
	now, err := c.Find(ctx, ref)
	if err != nil {
		last, unknown := c.registry.Digest(ctx, copied)
		if unknown != nil || !isPassing(err) {
			return "", nil, err
		}
		from.Note = err.Error() + "; the copy that is here is used"
		return pinnedTo(copied, last), from, nil
	}
	pinned = pinnedTo(copied, now)
	last, unknown := c.registry.Digest(ctx, copied)
	if unknown == nil && last == now && c.Has(ctx, pinned, platforms) {
		return pinned, nil, nil
	}
	from.Copy = func(ctx context.Context, see func(bytes, total int64)) error {
		var got image.Copied
		err := c.Copy(ctx, ref, now, copied, platforms, func(p image.Copied) { got = p; see(p.Bytes, p.Total) })
		if err == nil {
			c.log.Info("copied an image", "image", reference.FamiliarString(ref), "digest", now, "bytes", got.Bytes)
		}
		return err
	}
	return pinned, from, nil
}

// isPassing reports whether a registry did not give an image for a reason that lies not
// with the image.
func isPassing(err error) bool {
	var said *image.RefusedError
	return errors.Is(err, image.ErrNoRegistry) || errors.As(err, &said) && said.Temporary()
}

func pinnedTo(name string, d digest.Digest) string {
	name, _, _ = strings.Cut(name, "@")
	return fmt.Sprintf("%s@%s", name, d)
}
