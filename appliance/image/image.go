// Package image makes container images, of one program without a builder or of
// a build context by the Docker Engine, and brings them into a registry. Besides
// package swarm it is the only user of Docker's client, and the only one of BuildKit's,
// so that what these change ends here.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/crawlbox/crawlbox/appliance/base/inprocess"
)

// FromBinary makes an image that holds one static binary, at /app, and runs it
// with the arguments given. The image is for the platform of this process.
func FromBinary(path string, args ...string) (v1.Image, error) {
	packed, err := pack(path)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make layer of %s: %w", path, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("make image of %s: %w", path, err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image of %s: %w", path, err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Entrypoint = append([]string{"/app"}, args...)
	return mutate.ConfigFile(img, cfg)
}

// pack returns a compressed layer with the one file. Speed counts more than
// size: it goes no further than the registry of this machine.
func pack(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{
		Name:     "app",
		Mode:     0o755,
		Size:     st.Size(),
		Typeflag: tar.TypeReg,
	}); err != nil {
		return nil, err
	}
	if _, err := io.Copy(tw, f); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Push brings an image into the registry of ref, such as
// localhost:8003/spider:0.01, and returns its digest.
func Push(ctx context.Context, ref string, img v1.Image) (digest string, err error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", fmt.Errorf("%q is not an image name: %w", ref, err)
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	d, err := img.Digest()
	return d.String(), err
}

// Environment returns the variables, as NAME=VALUE, that an image in the cluster's registry
// sets by itself; of one for several platforms, those of the first that is there. None are
// returned where the registry does not have it.
func Environment(ctx context.Context, registry http.Handler, pinned string) []string {
	return configOf(ctx, registry, pinned).Env
}

// Program returns what an image in the cluster's registry runs by itself, in the same way.
func Program(ctx context.Context, registry http.Handler, pinned string) (entrypoint, command []string) {
	config := configOf(ctx, registry, pinned)
	return config.Entrypoint, config.Cmd
}

func configOf(ctx context.Context, registry http.Handler, pinned string) (none v1.Config) {
	ref, err := name.NewDigest(pinned)
	if err != nil {
		return none
	}
	here, err := remote.NewPuller(remote.WithTransport(inprocess.Transport{Handler: registry}))
	if err != nil {
		return none
	}
	found, err := here.Get(ctx, ref)
	if err != nil {
		return none
	}
	if !found.MediaType.IsIndex() {
		config, _ := readConfig(found)
		return config
	}
	index, err := found.ImageIndex()
	if err != nil {
		return none
	}
	list, err := index.IndexManifest()
	if err != nil {
		return none
	}
	for _, child := range list.Manifests {
		// Those of platforms that no node has are not here.
		if image, err := here.Get(ctx, ref.Context().Digest(child.Digest.String())); err == nil {
			if config, ok := readConfig(image); ok {
				return config
			}
		}
	}
	return none
}

// readConfig reports whether an image has one that says something: an attestation has none.
func readConfig(image *remote.Descriptor) (none v1.Config, ok bool) {
	img, err := image.Image()
	if err != nil {
		return none, false
	}
	file, err := img.ConfigFile()
	if err != nil {
		return none, false
	}
	c := file.Config
	return c, len(c.Env)+len(c.Entrypoint)+len(c.Cmd) > 0
}
