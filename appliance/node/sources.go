package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// sources finds out what images are that services name, and from where nodes get them.
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
type sources struct {
	engine *swarm.Engine
	// copies is nil where images of other registries are left to each node's engine:
	// with registry.public: false, and on nodes without the registry.
	copies *copies
}

// copies are those in the manager's registry.
type copies struct {
	*image.Copier
	registry *registry.Registry
	port     uint16
	own      func(hostport string) bool // a name of the cluster's registry
	log      *slog.Logger
}

func (m *Manager) sources() *sources {
	s := &sources{engine: m.engine}
	if m.cfg.Registry.Public {
		s.copies = &copies{Copier: image.NewCopier(m.registry.Sparse(), pki.CertsDir), registry: m.registry, port: m.cfg.Registry.Port,
			own: func(hostport string) bool { return m.loopbackName(hostport) || m.registryName(hostport) }, log: m.log}
	}
	return s
}

// Resolve names an image with its digest, as services are to name it. from is nil for
// one that the nodes get without more ado.
func (s *sources) Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error) {
	ref := s.copies.foreign(named)
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
		return pinned, from, err
	}
	// The engines may know another way to it: a proxy, or a mirror of their own.
	pinned, ownErr := s.pin(ctx, named)
	note := err.Error() + "; nothing is copied, and each node pulls the image itself"
	return pinned, &deploy.Source{Registry: reference.Domain(ref), Note: note}, ownErr
}

// pin asks the registry behind an image, by way of the engine, for its digest.
func (s *sources) pin(ctx context.Context, named string) (string, error) {
	if strings.Contains(named, "@sha256:") {
		return named, nil
	}
	d, err := s.engine.Digest(ctx, named)
	return named + "@" + d, err
}

// platforms are those of all nodes, also of those that are down now.
func (s *sources) platforms(ctx context.Context) (list []fleet.Platform, err error) {
	nodes, err := s.engine.Nodes(ctx)
	for _, n := range nodes {
		if p := n.Platform(); p.OS != "" && p.Arch != "" && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, err
}

// foreign reads the name of an image of another registry, or of the copy of one by its
// tag, which is what the tag is there. It is nil for what is the cluster's own, or can
// have no copy.
func (c *copies) foreign(named string) reference.Named {
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
func (c *copies) find(ctx context.Context, ref reference.Named, platforms []fleet.Platform) (pinned string, from *deploy.Source, err error) {
	copied := fleet.CopyName(c.port, ref)
	_, byDigest := ref.(reference.Digested)
	if byDigest && c.Has(ctx, copied, platforms) {
		return copied, nil, nil
	}
	from = &deploy.Source{Registry: reference.Domain(ref)}
	now, err := c.Find(ctx, ref)
	if err != nil {
		last, unknown := c.registry.Digest(ctx, copied)
		if unknown != nil || !mayPass(err) {
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
			c.log.Info("image copied", "image", reference.FamiliarString(ref), "digest", now, "bytes", got.Bytes)
		}
		return err
	}
	return pinned, from, nil
}

// mayPass says whether a registry did not give an image for a reason that lies not
// with the image.
func mayPass(err error) bool {
	var said *image.RefusedError
	return errors.Is(err, image.ErrNoRegistry) || errors.As(err, &said) && said.Passing()
}

func pinnedTo(name string, d digest.Digest) string {
	name, _, _ = strings.Cut(name, "@")
	return fmt.Sprintf("%s@%s", name, d)
}
