package fleet

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// copies is the directory of the cluster's registry that has copies of images of other
// registries: python:3.12 is mirror/docker.io/library/python:3.12 there.
const copies = "mirror"

// maxRepository is how long the name of a repository may be, in bytes.
const maxRepository = 255

// CopyName returns the name of the copy of another registry's image, on the registry at
// localhost:PORT of each node: with its tag, latest where it has neither that nor a
// digest, and with its digest. It is "" where a registry can't be part of a name, such
// as one with an IPv6 address.
func CopyName(port uint16, image reference.Named) string {
	registry := strings.ToLower(strings.Replace(reference.Domain(image), ":", "_", 1))
	repository := strings.Join([]string{copies, registry, reference.Path(image)}, "/")
	name, err := reference.WithName(fmt.Sprintf("localhost:%d/%s", port, repository))
	if err != nil || len(repository) > maxRepository {
		return ""
	}
	image = reference.TagNameOnly(image)
	return name.Name() + strings.TrimPrefix(image.String(), image.Name())
}

// copyName parts the name of a copy into registry, its port, and the rest.
var copyName = regexp.MustCompile(`^localhost:\d+/` + copies + `/([^/_]+\.[^/_]+|localhost|[^/_]+_)(\d*)/(.+)$`)

// FamiliarImage names an image as people do: python:3.12 for the cluster's copy of it.
// Images that are not such copies keep their name.
func FamiliarImage(image string) string {
	m := copyName.FindStringSubmatch(image)
	if m == nil {
		return image
	}
	ref, err := reference.ParseNormalizedNamed(strings.Replace(m[1]+m[2], "_", ":", 1) + "/" + m[3])
	if err != nil {
		return image
	}
	return reference.FamiliarString(ref)
}
