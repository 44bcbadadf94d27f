package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Pulled is how much of an image this engine has by now.
type Pulled struct {
	Bytes int64 `json:"bytes"` // of the layers that it did not have before
	Total int64 `json:"total"` // of those whose size is known by now
}

// HasImage reports whether this engine has an image, by name and digest: Swarm starts
// its tasks then without asking a registry.
func (e *Engine) HasImage(ctx context.Context, ref string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := e.cli.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, e.explain(err)
}

// Pull brings an image, named with its digest, onto this engine, and calls see as
// it comes in. It ends with ctx and has no bound of its own: a large image on a
// slow line takes as long as it takes. ErrNoImage is wrapped where the registry
// has none.
func (e *Engine) Pull(ctx context.Context, ref string, see func(Pulled)) error {
	if has, err := e.HasImage(ctx, ref); has || err != nil {
		return err
	}
	stream, err := e.cli.ImagePull(ctx, ref, image.PullOptions{})
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w %s; `crawlbox images` lists what was pushed", ErrNoImage, ref)
	}
	if err != nil {
		return e.explain(err)
	}
	defer stream.Close()
	if err := readPull(stream, see); err != nil {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	return nil
}

// RemoveUnused removes an image, named NAME:TAG@DIGEST, that nothing on this engine
// uses, and the tag if it is still of that image. It reports whether the image is gone;
// one that a container holds, even one that has ended, stays and is no error.
func (e *Engine) RemoveUnused(ctx context.Context, pinned string) (gone bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	name := WithoutTag(pinned)
	found, err := e.cli.ImageInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, e.explain(err)
	}
	if tag, _, _ := strings.Cut(pinned, "@"); slices.Contains(found.RepoTags, tag) {
		name = tag // the engine drops the digest with the last tag of the repository
	}
	_, err = e.cli.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	switch {
	case outcomeOf(err) == done:
		return true, nil
	case cerrdefs.IsConflict(err):
		return false, nil
	}
	return false, e.explain(err)
}

// readPull reads what an engine says of a pull, to its end.
func readPull(stream io.Reader, see func(Pulled)) error {
	layers := map[string]Pulled{}
	dec := json.NewDecoder(stream)
	for {
		var m struct {
			ID       string `json:"id"`
			Status   string `json:"status"`
			Error    string `json:"error"`
			Progress struct {
				Current int64 `json:"current"`
				Total   int64 `json:"total"`
			} `json:"progressDetail"`
		}
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(words.OneLine(m.Error))
		}
		switch m.Status {
		case "Downloading":
			layers[m.ID] = Pulled{m.Progress.Current, m.Progress.Total}
		case "Download complete":
			layers[m.ID] = Pulled{layers[m.ID].Total, layers[m.ID].Total}
		default:
			continue
		}
		see(sum(layers))
	}
}

func sum(layers map[string]Pulled) (all Pulled) {
	for _, l := range layers {
		all.Bytes += l.Bytes
		all.Total += l.Total
	}
	return all
}

// WithoutTag returns the name under which an engine keeps an image that it pulled by
// its digest: NAME@DIGEST.
func WithoutTag(pinned string) string {
	name, digest, _ := strings.Cut(pinned, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + digest
}
