package swarm

import (
	"slices"
	"testing"

	"github.com/docker/docker/api/types/image"
)

func TestDigestsOf(t *testing.T) {
	t.Parallel()
	got := digestsOf([]image.Summary{
		{RepoDigests: []string{"localhost:8003/spider@sha256:b", "10.0.0.1:8003/spider@sha256:b"}},
		{RepoDigests: []string{"<none>@<none>"}},
		{RepoTags: []string{"built:1"}},
		{RepoDigests: []string{"python@sha256:a"}},
	})
	if want := []string{"sha256:a", "sha256:b"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := digestsOf(nil); got == nil || len(got) != 0 {
		t.Errorf("an engine without images gives %#v", got)
	}
}

// TestNamesIn wants the names that other people gave the same image to be left out.
func TestNamesIn(t *testing.T) {
	t.Parallel()
	got := namesIn([]image.Summary{
		{
			RepoTags:    []string{"mine:dev", "localhost:8003/spider:0.01"},
			RepoDigests: []string{"localhost:8003/spider@sha256:a", "other:8003/spider@sha256:a"},
		},
		{RepoTags: []string{"localhost:80031/spider:1", "localhost:8003"}, RepoDigests: nil},
	}, []string{"localhost:8003"})
	want := []string{"localhost:8003/spider:0.01", "localhost:8003/spider@sha256:a"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
