package swarm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

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

// Docker calls each container unhealthy that has ended, and hears after the end that some were out of
// memory, or never.
func TestContainer_OfWhatDockerDoesNotSay(t *testing.T) {
	t.Parallel()
	const sick = `"Health": {"Status": "unhealthy", "FailingStreak": 2, "Log": [{"ExitCode": 1, "Output": "no queue"}]}`
	const idle = `"Health": {"Status": "unhealthy", "FailingStreak": 0, "Log": []}`
	const killed = `"ExitCode": 137, "StartedAt": "2026-11-30T05:04:32.4Z", "FinishedAt": "2026-11-30T05:04:33.1Z"`
	for name, tc := range map[string]struct {
		state  string
		memory int64
		heard  string // what Docker's events have of it
		began  string // the engine; empty: it does not say
		want   Container
	}{
		"ended by itself":  {state: idle, want: Container{Health: Ended}},
		"its check fails":  {state: sick, want: Container{Health: Unhealthy, Said: "no queue", CheckCode: 1}},
		"no check":         {state: `"ExitCode": 1`, want: Container{ExitCode: 1}},
		"known at the end": {state: killed + `, "OOMKilled": true`, want: Container{ExitCode: 137, OutOfMemory: true}},
		"killed, no limit": {state: killed, heard: `{}`, want: Container{ExitCode: 137}},
		"heard of late": {
			state:  killed,
			memory: 5,
			heard:  `{}`,
			want:   Container{ExitCode: 137, Memory: 5, OutOfMemory: true},
		},
		"ended as the engine began": {
			state: `"ExitCode": 1, "FinishedAt": "2026-11-30T05:04:33.1Z"`,
			began: "2026-11-30T05:04:34Z",
			want:  Container{ExitCode: 1, Outlived: time.Date(2026, 11, 30, 5, 4, 34, 0, time.UTC)},
		},
		"ended long before it began": {
			state: `"ExitCode": 1, "FinishedAt": "2026-11-30T05:04:33.1Z"`,
			began: "2026-11-30T05:06:34Z",
			want:  Container{ExitCode: 1},
		},
		"ended after it began": {
			state: `"ExitCode": 1, "FinishedAt": "2026-11-30T05:04:33.1Z"`,
			began: "2026-11-30T05:04:33Z",
			want:  Container{ExitCode: 1},
		},
		"never heard of": {state: killed, memory: 5, want: Container{ExitCode: 137, Memory: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineOf(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if strings.HasSuffix(r.URL.Path, "/networks/bridge") {
					if tc.began == "" {
						w.WriteHeader(http.StatusNotFound)
					}
					fmt.Fprintf(w, `{"Created": %q}`, tc.began)
					return
				}
				if !strings.HasSuffix(r.URL.Path, "/events") {
					fmt.Fprintf(w, `{"Id": "c", "State": {%s}, "HostConfig": {"Memory": %d},
						"Config": {"Healthcheck": {"Retries": 2}}}`, tc.state, tc.memory)
					return
				}
				if q := r.URL.Query(); q.Get("until") != "1796015074.100000000" ||
					q.Get("filters") != `{"container":{"c":true},"event":{"oom":true}}` {
					t.Errorf("events are asked for with %v", q)
				}
				fmt.Fprint(w, tc.heard)
			})
			if got, err := e.Container(t.Context(), "c"); err != nil || got != tc.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}
