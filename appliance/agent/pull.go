package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

type pullRequest struct {
	Image string `json:"image"` // with its digest
}

type pullLine struct {
	swarm.Pulled
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
	NoImage bool   `json:"no_image,omitempty"` // the registry has none of that name
}

// pullCall has a node pull an image before tasks want it.
var pullCall = Stream[pullRequest, swarm.Pulled, pullLine]{
	Route:      routePull,
	MaxRequest: 4 << 10,
	MaxLine:    64 << 10,
	Valid:      func(r pullRequest) bool { return strings.Contains(r.Image, "@sha256:") },
	Invalid:    "not an image with its digest",
	Every:      time.Second,
	Quiet:      30 * time.Second, // Swarm gives up a node that is away sooner
	Pack:       packPull,
	Unpack:     unpackPull,
}

func packPull(p swarm.Pulled, done bool, err error) pullLine {
	if err != nil {
		return pullLine{Pulled: p, Error: err.Error(), NoImage: errors.Is(err, swarm.ErrNoImage)}
	}
	return pullLine{Pulled: p, Done: done}
}

func unpackPull(l pullLine) (p swarm.Pulled, done bool, err error) {
	switch {
	case l.NoImage:
		err = words.Error(swarm.ErrNoImage, "%.1000s", l.Error)
	case l.Error != "":
		err = fmt.Errorf("%.1000s", l.Error)
	}
	return l.Pulled, l.Done, err
}

// pull has this node's engine pull an image. The mirror keeps the image until a manager
// takes it back with a prune; what has come of one whose pull fails is there for the next
// attempt.
func (n node) pull(ctx context.Context, _ Peer, r pullRequest, see func(swarm.Pulled)) error {
	d, ok := digestIn(r.Image)
	added := ok && n.pins.Pin(d)
	err := n.engine.Pull(ctx, r.Image, see)
	if added && errors.Is(err, swarm.ErrNoImage) {
		n.pins.Unpin(d)
	}
	return err
}

// digestIn returns the digest of NAME@DIGEST; ok is false where it has none.
func digestIn(image string) (d digest.Digest, ok bool) {
	_, text, _ := strings.Cut(image, "@")
	d, err := digest.Parse(text)
	return d, err == nil
}

// Pull implements deploy.Agents.
func (p *Peers) Pull(ctx context.Context, n fleet.Node, image string, see func(swarm.Pulled)) error {
	return pullCall.Do(ctx, p, n, pullRequest{image}, see)
}
