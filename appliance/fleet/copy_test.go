package fleet

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestCopyName(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for image, copied := range map[string]string{
		"python":                        "localhost:8003/mirror/docker.io/library/python:latest",
		"python:3.12-slim":              "localhost:8003/mirror/docker.io/library/python:3.12-slim",
		"python" + digest:               "localhost:8003/mirror/docker.io/library/python" + digest,
		"python:3" + digest:             "localhost:8003/mirror/docker.io/library/python:3" + digest,
		"a/b:1":                         "localhost:8003/mirror/docker.io/a/b:1",
		"quay.io/a/b:1":                 "localhost:8003/mirror/quay.io/a/b:1",
		"10.0.0.9:5000/a:1":             "localhost:8003/mirror/10.0.0.9_5000/a:1",
		"localhost:5000/a/b:1":          "localhost:8003/mirror/localhost_5000/a/b:1",
		"localhost/a:1":                 "localhost:8003/mirror/localhost/a:1",
		"hub.lan:5000/a_b/c__d:1":       "localhost:8003/mirror/hub.lan_5000/a_b/c__d:1",
		"hub:5000/a:1":                  "localhost:8003/mirror/hub_5000/a:1",
		"[fd00::1]:5000/a:1":            "",
		"a/" + strings.Repeat("a", 240): "",
	} {
		ref, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			t.Fatal(err)
		}
		got := CopyName(8003, ref)
		if got != copied {
			t.Errorf("the copy of %s is %q, want %q", image, got, copied)
		}
		if back := FamiliarImage(got); got != "" && back != reference.FamiliarString(reference.TagNameOnly(ref)) {
			t.Errorf("people call %s %s", got, back)
		}
	}
}

func TestFamiliarImage_OthersStay(t *testing.T) {
	t.Parallel()
	for _, image := range []string{
		"", "python:3", "localhost:8003/spider:0.01", "localhost:8003/mirror/spider:0.01",
		"10.0.0.1:8003/mirror/docker.io/library/a:1", "localhost:8003/mirror/docker.io/UPPER:1",
	} {
		if got := FamiliarImage(image); got != image {
			t.Errorf("%s becomes %s", image, got)
		}
	}
}
