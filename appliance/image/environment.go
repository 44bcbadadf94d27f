package image

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Environment returns the variables, as NAME=VALUE, that an image in the cluster's registry
// sets by itself; of one for several platforms, those of the first that is there. None are
// returned where the registry does not have it.
func Environment(ctx context.Context, registry http.Handler, pinned string) []string {
	ref, err := name.NewDigest(pinned)
	if err != nil {
		return nil
	}
	here, err := remote.NewPuller(remote.WithTransport(inProcess{registry}))
	if err != nil {
		return nil
	}
	found, err := here.Get(ctx, ref)
	if err != nil {
		return nil
	}
	if !found.MediaType.IsIndex() {
		return environmentOf(found)
	}
	index, err := found.ImageIndex()
	if err != nil {
		return nil
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil
	}
	for _, child := range list.Manifests {
		// Those of platforms that no node has are not here.
		if image, err := here.Get(ctx, ref.Context().Digest(child.Digest.String())); err == nil {
			if env := environmentOf(image); env != nil {
				return env
			}
		}
	}
	return nil
}

func environmentOf(image *remote.Descriptor) []string {
	img, err := image.Image()
	if err != nil {
		return nil
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil
	}
	return config.Config.Env
}
