package servicespec

import (
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestDeployment_PlacesTasksWhereTheImageRuns(t *testing.T) {
	t.Parallel()
	s := serviceOfTwo()
	s.TaskTemplate.Placement = &swarm.Placement{
		MaxReplicas: 3,
		Platforms:   []swarm.Platform{{OS: "linux", Architecture: "s390x"}},
	}
	both := []fleet.Platform{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm"}, {OS: "linux", Arch: "ARM"}}
	for _, tc := range []struct {
		image     string
		platforms []fleet.Platform
		want      []swarm.Platform
	}{
		{"old", both, []swarm.Platform{{OS: "linux", Architecture: "s390x"}}}, // the image stays as it is
		{"new@sha256:1", both, []swarm.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux"}}},
		{"new@sha256:2", nil, nil},
	} {
		d := Deployment{Image: tc.image, Platforms: tc.platforms}
		if err := d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		if p := s.TaskTemplate.Placement; p.MaxReplicas != 3 || !reflect.DeepEqual(p.Platforms, tc.want) {
			t.Errorf("%s: placed by %+v, want %v", tc.image, p, tc.want)
		}
	}
	none := serviceOfTwo()
	d := Deployment{Image: "new@sha256:3"}
	if err := d.Apply(&none); err != nil || none.TaskTemplate.Placement != nil {
		t.Errorf("placed by %+v, %v", none.TaskTemplate.Placement, err)
	}
}
