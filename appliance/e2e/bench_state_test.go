package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// writesOfState is how many changes of the cluster's state BenchmarkState makes on each manager that it asks.
const writesOfState = 200

// BenchmarkState gives how long a change of the cluster's state takes, on 1, 3 and 5 managers: a join token, made
// through the API of Swarm's leader and of another manager. Beside it what of that takes Docker: to read the config
// that has the newest commit, to list the nodes, and to change a config.
func BenchmarkState(b *testing.B) {
	for _, n := range []int{1, 3, 5} {
		b.Run(fmt.Sprintf("managers=%d", n), func(b *testing.B) {
			l := newBenchLab(b)
			hosts := l.AddHosts(n)
			p := hosts[0].Start("crawlbox", "crawlbox", "manager")
			lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
			for _, h := range hosts[1:] {
				var join api.Token
				askAPI(b, hosts[0], http.MethodGet, "/v1/token?role=manager", nil, &join)
				p := h.Start("crawlbox", "crawlbox", "manager", "--join", join.Join)
				lab.WaitFor(b, patience, h.Name(), func() error { return said(p, "manager is ready") })
			}
			lab.WaitFor(b, patience, "all managers on the list", func() error {
				return want(strings.Count(hosts[0].MustExec("crawlbox", "state", "show", "replicas"), `"node"`), n)
			})
			report := func(who string, took []time.Duration) {
				slices.Sort(took)
				for _, p := range []int{50, 99} {
					b.ReportMetric(took[(len(took)-1)*p/100].Seconds()*1000, fmt.Sprintf("ms-p%d/%s", p, who))
				}
				b.Logf("%s: %v to %v; load %s", who, took[0], took[len(took)-1], load())
			}
			for i, who := range []string{"leader", "other"}[:min(n, 2)] {
				report(who, timesOf(b, func(int) {
					if _, err := makeToken(b.Context(), hosts[i]); err != nil {
						b.Fatal(err)
					}
				}))
			}
			config := `{"Name":"bench","Labels":{"n":"%d"},"Data":"eA=="}`
			docker(b, hosts[0], http.StatusCreated, "/configs/create", fmt.Appendf(nil, config, 0))
			h := hosts[n-1]
			report("docker-read", timesOf(b, func(int) { docker(b, h, http.StatusOK, "/configs/bench", nil) }))
			report("docker-nodes", timesOf(b, func(int) { docker(b, h, http.StatusOK, "/nodes", nil) }))
			version := versionOf(b, h, "/configs/bench")
			var writes []time.Duration
			for i := range writesOfState {
				path := fmt.Sprintf("/configs/bench/update?version=%d", version)
				begun := time.Now()
				docker(b, h, http.StatusOK, path, fmt.Appendf(nil, config, i))
				writes = append(writes, time.Since(begun))
				version = versionOf(b, h, "/configs/bench")
			}
			report("docker-write", writes)
			b.ReportMetric(0, "ns/op")
		})
	}
}

func timesOf(b *testing.B, fn func(int)) (took []time.Duration) {
	b.Helper()
	for i := range writesOfState {
		begun := time.Now()
		fn(i)
		took = append(took, time.Since(begun))
	}
	return took
}
