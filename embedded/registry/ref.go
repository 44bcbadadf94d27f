package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

var (
	// ErrUnknownImage is returned by Digest and Remove for a name that the
	// registry does not have. The text names what comes near.
	ErrUnknownImage = errors.New("no such image in the registry")
	// ErrBadName is returned by Digest and Remove for what is not an image name.
	ErrBadName = errors.New("not an image name")
)

// name is an image name without the registry's address.
type name struct {
	repo   string
	tag    string
	digest digest.Digest
}

// parseName reads spider, spider:0.01, localhost:8003/spider:0.01 and
// spider@sha256:…. Whatever address stands in front is dropped: this registry
// answers under several. Without tag and digest the tag is latest, as in Docker.
func parseName(ref string) (name, error) {
	// The address keeps reference from adding docker.io/library/.
	named, err := reference.ParseNormalizedNamed("localhost/" + naming.WithoutAddress(ref))
	if err != nil {
		return name{}, fmt.Errorf("%w: %q: %w; it is written like spider:0.01", ErrBadName, ref, err)
	}
	n := name{repo: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		n.digest = d.Digest()
	}
	if t, ok := named.(reference.Tagged); ok {
		n.tag = t.Tag()
	} else if n.digest == "" {
		n.tag = "latest"
	}
	return n, nil
}

// Repository returns the repository and the digest of an image that is named with that, at whatever address.
func Repository(pinned string) (repo string, d digest.Digest, err error) {
	n, err := parseName(pinned)
	if err == nil && n.digest == "" {
		err = fmt.Errorf("%w with a digest: %q", ErrBadName, pinned)
	}
	return n.repo, n.digest, err
}

// parseTag is parseName for a name that has to have a tag.
func parseTag(ref string) (name, error) {
	n, err := parseName(ref)
	if err == nil && n.digest != "" {
		err = fmt.Errorf("%w with a tag: %q; remove the tags that point at it, then run `crawlbox images gc`",
			ErrBadName, ref)
	}
	return n, err
}

func (n name) String() string {
	if n.digest != "" {
		return n.repo + "@" + n.digest.String()
	}
	return n.repo + ":" + n.tag
}

// unknown makes the error for n, given all names that there are.
func unknown(n name, known []string) error {
	near := nearest(n.String(), known)
	if len(near) == 0 {
		return fmt.Errorf("%w: %s; `crawlbox images` lists what there is", ErrUnknownImage, n)
	}
	return fmt.Errorf("%w: %s; near it are %s", ErrUnknownImage, n, strings.Join(near, ", "))
}

// maxNear is how many names an error proposes.
const maxNear = 3

// nearest returns the known names that a person may have meant, best first:
// other tags of the same repository and names with a few letters changed.
func nearest(want string, known []string) []string {
	repo, _, _ := strings.Cut(want, ":")
	cost := make(map[string]int)
	for _, k := range known {
		d := words.Distance(want, k)
		if strings.HasPrefix(k, repo+":") || d <= max(2, len(want)/3) {
			cost[k] = d
		}
	}
	near := slices.SortedFunc(maps.Keys(cost),
		func(a, b string) int { return cmp.Or(cost[a]-cost[b], strings.Compare(a, b)) })
	return near[:min(len(near), maxNear)]
}
