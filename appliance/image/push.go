package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	images "github.com/docker/docker/api/types/image"
)

// noAuth is {} in base64. The engine wants the header of credentials even for
// a registry that asks for none.
const noAuth = "e30="

// PushProgress is how far a push is. Layers grows while the engine finds them.
type PushProgress struct {
	Layers   int   // known so far
	Existing int   // of them, those that the registry had already
	Done     int   // of them, those that are there now: existing, mounted or pushed
	Bytes    int64 // sent of the layers that had to be
	Total    int64 // of those, as the engine counts them
}

// Push brings an image that the engine has into the registry of its name, such
// as localhost:8003/spider:0.01, and returns its digest. It calls see whenever
// something moved, which can be many times a second.
func (b *Builder) Push(ctx context.Context, ref string, see func(PushProgress)) (digest string, err error) {
	body, err := b.engine.ImagePush(ctx, ref, images.PushOptions{RegistryAuth: noAuth})
	if err == nil {
		defer body.Close()
		digest, err = readPush(body, see)
	}
	if err != nil {
		return "", pushFailed(ctx, ref, err)
	}
	return digest, nil
}

// ErrNotHere is wrapped by Tag where the engine has no such image.
var ErrNotHere = errors.New("Docker has no such image here")

// Tag gives an image that the engine has another name.
func (b *Builder) Tag(ctx context.Context, image, ref string) error {
	err := b.engine.ImageTag(ctx, image, ref)
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %s", ErrNotHere, image)
	}
	return err
}

// auxOf returns what the engine says beside the text: the id of an image that
// was built, the digest of one that was pushed.
func auxOf(m message) (aux struct{ ID, Digest string }) {
	_ = json.Unmarshal(m.Aux, &aux) // other kinds of aux have neither
	return aux
}

// digestLine is the last status of a push. Engines that keep images in
// containerd say the digest nowhere else.
var digestLine = regexp.MustCompile(`digest: (sha256:[0-9a-f]{64}) size: \d+`)

// readPush follows a push to its end.
func readPush(r io.Reader, see func(PushProgress)) (digest string, err error) {
	layers := map[string]layer{}
	var last PushProgress
	err = decode(r, func(m message) {
		if d := auxOf(m).Digest; d != "" {
			digest = d
		}
		if found := digestLine.FindStringSubmatch(m.Status); found != nil {
			digest = found[1]
		}
		if m.ID == "" {
			return
		}
		layers[m.ID] = layers[m.ID].after(m)
		if now := total(layers); now != last {
			last = now
			see(now)
		}
	})
	if err == nil && digest == "" {
		err = errors.New("the engine ended without a digest")
	}
	return digest, err
}

type layer struct {
	existing, done bool
	sent, size     int64
}

// after returns the layer as a message says it is.
func (l layer) after(m message) layer {
	switch {
	case m.Status == "Layer already exists":
		return layer{existing: true, done: true}
	case strings.HasPrefix(m.Status, "Mounted from"):
		return layer{done: true}
	case m.Status == "Pushed":
		l.done, l.sent = true, l.size
	case m.Status == "Pushing":
		l.size = max(l.size, m.Progress.Total)
		l.sent = min(m.Progress.Current, l.size) // the tar around the files is not in the size
	}
	return l
}

func total(layers map[string]layer) (p PushProgress) {
	for _, l := range layers {
		p.Layers++
		if l.existing {
			p.Existing++
		}
		if l.done {
			p.Done++
		}
		p.Bytes += l.sent
		p.Total += l.size
	}
	return p
}

// pushAdvice says what to do about a push that a registry refused. The registry of
// crawlbox says that itself, with the code DENIED, where it has a reason to refuse.
var pushAdvice = []struct {
	said *regexp.Regexp
	do   string
}{
	{
		regexp.MustCompile(`dial tcp|connection re|EOF$`),
		"nothing serves it there now; see with `crawlbox status` whether the registry runs, then try again",
	},
	{
		regexp.MustCompile(`^(denied|unauthorized)|no basic auth credentials|status: 40[13]`),
		"the registry wants other rights than this node has; see in `crawlbox config` that registry.port is " +
			"crawlbox's own, and in its log why",
	},
	{
		regexp.MustCompile(`^unsupported|read.?only|status: 405`),
		"the registry takes no pushes; see in `crawlbox config` that registry.port is crawlbox's own",
	},
	{regexp.MustCompile(`^toomanyrequests|status: 429`), "the registry has too much to do; try again in a minute"},
	{
		regexp.MustCompile(`(?i)no space left|status: 5\d\d|^unknown|timeout`),
		"the registry could not keep it; look for free space with df on the manager and for the cause in crawlbox's " +
			"log, then try again",
	},
}

// pushFailed returns the error of a push in one line, with what to do.
func pushFailed(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("push %s: %w", ref, ctx.Err())
	}
	if said, ok := errors.AsType[errSaid](err); ok && strings.Contains(err.Error(), "; ") {
		text := strings.TrimPrefix(string(said), "denied: ")
		text = strings.TrimPrefix(text, "error from registry: ") // of engines that keep images in containerd
		return fmt.Errorf("push %s: %s", ref, text)
	}
	for _, a := range pushAdvice {
		if a.said.MatchString(err.Error()) {
			return fmt.Errorf("push %s: %w; %s", ref, err, a.do)
		}
	}
	return fmt.Errorf("push %s: %w", ref, err)
}
