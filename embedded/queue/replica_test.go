package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// TestStore_ReplicaFollows replays the noted effects of every command into a
// second store and compares the two after each, so that a command whose effects
// are not all noted is found by name.
func TestStore_ReplicaFollows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			live, replica := testStore(t), testStore(t)
			w := writer{rand.New(rand.NewPCG(seed, 3))}
			before := written(t, live)
			for i := range 300 {
				cmd := w.command()
				c := call{args: make([]string, len(cmd))}
				for i, arg := range cmd {
					c.args[i] = fmt.Sprint(arg)
				}
				reply := execAny(live, c)
				if err := replica.replayBatch(live.takeEffects()); err != nil {
					t.Fatalf("command %d %q: %v", i, c.args, err)
				}
				if got, want := written(t, replica), written(t, live); !slices.Equal(got, want) {
					t.Fatalf("command %d %q, reply %q: %s", i, c.args, reply, difference(before, want, got))
				} else {
					before = got
				}
			}
			// What a snapshot makes is the same again.
			var batches [][]journal.Command
			again := testStore(t)
			if err := live.dumpAll(func(b []journal.Command) error { batches = append(batches, b); return again.replayBatch(b) }); err != nil {
				t.Fatal(err)
			}
			if got, want := written(t, again), written(t, live); !slices.Equal(got, want) {
				t.Fatalf("snapshot: %s", difference(nil, want, got))
			}
		})
	}
}

func testStore(t *testing.T) *store {
	t.Helper()
	s, err := newStore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func execAny(s *store, c call) string {
	if commands[c.args[0]].block != nil {
		return s.try(c)
	}
	return s.exec(c)
}

// written returns the snapshot of s.
func written(t *testing.T, s *store) []string {
	t.Helper()
	var lines []string
	err := s.dumpAll(func(batch []journal.Command) error {
		lines = append(lines, fmt.Sprintf("%d %q", batch[0].DB, batch[0].Args))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func difference(before, want, got []string) string {
	var b strings.Builder
	for name, lines := range map[string][2][]string{"missing": {want, got}, "too much": {got, want}, "changed by the command": {want, before}} {
		for _, line := range lines[0] {
			if !slices.Contains(lines[1], line) {
				fmt.Fprintf(&b, "\n%s: %.200s", name, line)
			}
		}
	}
	return b.String()
}
