package image

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/crawlbox/crawlbox/appliance/base/inprocess"
)

// TestEnvironment reads what an image sets, also one for several platforms.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	_, r := newCopier(t, "")
	env := []string{"PATH=/bin", "REDIS_URL=redis://mine"}
	img, err := mutate.Config(empty.Image, v1.Config{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image}, mutate.IndexAddendum{Add: img})
	into := remote.WithTransport(inprocess.Transport{Handler: r.Handler()})
	for repository, push := range map[string]func(name.Reference) (v1.Hash, error){
		"one": func(ref name.Reference) (v1.Hash, error) {
			d, err := img.Digest()
			return d, errors.Join(err, remote.Write(ref, img, into))
		},
		"several": func(ref name.Reference) (v1.Hash, error) {
			d, err := index.Digest()
			return d, errors.Join(err, remote.WriteIndex(ref, index, into))
		},
	} {
		tag, err := name.NewTag("localhost:8003/" + repository + ":1")
		if err != nil {
			t.Fatal(err)
		}
		digest, err := push(tag)
		if err != nil {
			t.Fatal(err)
		}
		got := Environment(t.Context(), r.Handler(), tag.Name()+"@"+digest.String())
		if !slices.Equal(got, env) {
			t.Errorf("%s: got %q", repository, got)
		}
	}
	none := "localhost:8003/none:1@sha256:" + strings.Repeat("0", 64)
	for _, other := range []string{"", "localhost:8003/one:1", none} {
		if got := Environment(t.Context(), r.Handler(), other); got != nil {
			t.Errorf("%q: got %q", other, got)
		}
	}
}
