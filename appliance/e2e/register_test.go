package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// TestRegister holds what the cluster's state rests on: a label of a config that managers change at the
// same time, in Docker 20.10 and 26.
func TestRegister(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			var (
				hosts     []*lab.Host
				registers []swarm.Register
				join      string
			)
			for i := range 3 {
				h := l.AddHost(lab.Release(release))
				if i == 0 {
					h.Docker("swarm", "init", "--advertise-addr", h.IP().String())
					join = strings.TrimSpace(h.Docker("swarm", "join-token", "--quiet", "manager"))
				} else {
					h.Docker("swarm", "join", "--advertise-addr", h.IP().String(), "--token", join,
						netip.AddrPortFrom(hosts[0].IP(), 2377).String())
				}
				e, err := swarm.Open("unix://" + h.DockerSocket())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { e.Close() })
				hosts, registers = append(hosts, h), append(registers, e.Register("crawlbox.test"))
			}
			wantStale(t, registers)
			wantOneEach(t, registers)

			// Two others have a quorum. The new leader may read what was before the last change, but not
			// change it. The last alone has no quorum.
			value, _, err := registers[1].Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			hosts[0].PowerOff()
			lab.WaitFor(t, patience, "another leader", func() error {
				have, moment, err := registers[1].Load(t.Context())
				if err != nil {
					return err
				}
				err = registers[1].Swap(t.Context(), moment, "next")
				if err == nil && have != value {
					t.Fatalf("it was changed from %q, and had been %q by then", have, value)
				}
				return err
			})
			_, moment, err := registers[1].Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			hosts[2].PowerOff()
			if err := registers[1].Swap(t.Context(), moment, "minority"); err == nil || errors.Is(err, swarm.ErrStale) {
				t.Errorf("without quorum it says %v", err)
			} else {
				t.Log("without quorum:", err)
			}
		})
	}
}

// wantStale wants a change of what was read before another change refused, whoever made that.
func wantStale(t *testing.T, registers []swarm.Register) {
	t.Helper()
	ctx := t.Context()
	if value, moment, err := registers[1].Load(ctx); value != "" || moment != "" || err != nil {
		t.Fatalf("before it is there it has %q at %q, %v", value, moment, err)
	}
	if err := registers[1].Swap(ctx, "", "a"); err != nil {
		t.Fatal(err)
	}
	if err := registers[2].Swap(ctx, "", "b"); !errors.Is(err, swarm.ErrStale) {
		t.Errorf("made twice: %v", err)
	}
	_, moment, err := registers[2].Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := registers[0].Swap(ctx, moment, "c"); err != nil {
		t.Fatal(err)
	}
	for _, r := range registers {
		if err := r.Swap(ctx, moment, "d"); !errors.Is(err, swarm.ErrStale) {
			t.Errorf("changed at a moment that is past: %v", err)
		}
		if value, _, err := r.Load(ctx); value != "c" || err != nil {
			t.Errorf("it is %q, %v", value, err)
		}
	}
}

// wantOneEach has all managers change it at the same moments: each time one may.
func wantOneEach(t *testing.T, registers []swarm.Register) {
	t.Helper()
	for n := range 30 {
		_, moment, err := registers[n%3].Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var (
			all sync.WaitGroup
			got [3]error
		)
		for i, r := range registers {
			all.Go(func() { got[i] = r.Swap(t.Context(), moment, fmt.Sprint(n, i)) })
		}
		all.Wait()
		done := 0
		for _, err := range got {
			if err == nil {
				done++
			} else if !errors.Is(err, swarm.ErrStale) {
				t.Error(err)
			}
		}
		if done != 1 {
			t.Errorf("%d of 3 changed it at one moment: %v", done, got)
		}
	}
}
