package swarm

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

func TestLastSaid(t *testing.T) {
	long := strings.Repeat("é", maxSaid)
	for _, tc := range []struct {
		outputs []string
		want    string
	}{
		{nil, ""},
		{[]string{"no queue\n"}, "no queue"},
		{[]string{"no queue\n", "Traceback\n  no disk\n"}, "no disk"},
		{[]string{"no queue\n", ""}, "no queue"}, // stopped while it was checked
		{[]string{"", " \n"}, ""},
		{[]string{long}, long[:maxSaid] + "…"},
	} {
		var log []*container.HealthcheckResult
		for _, output := range tc.outputs {
			log = append(log, &container.HealthcheckResult{Output: output})
		}
		if got := lastHealthOutput(log); got != tc.want {
			t.Errorf("of %q the last is %q, want %q", tc.outputs, got, tc.want)
		}
	}
}
