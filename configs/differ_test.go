package configs

import (
	"slices"
	"strings"
	"testing"
)

// TestDiffer names each setting that has another value, the queue as a whole where it is on in one alone, and none
// that is followed while a node runs.
func TestDiffer(t *testing.T) {
	t.Parallel()
	const queue = "queue: {safe: ['a:*'], window: 1, password: x}\n"
	for name, tc := range map[string]struct{ a, b, want string }{
		"the same": {queue, "queue:\n  window: 1\n  password: x\n  safe: [a:*]\n", ""},
		"some of the queue": {
			queue, "queue: {safe: ['a:*', b], window: 2, password: x, linger: true}\n",
			"queue.safe queue.window queue.linger",
		},
		"no queue":              {queue, "", "queue"},
		"others":                {"", "log_level: debug\nregistry: {copies: 3}\n", "log_level registry.copies"},
		"what is followed":      {"", "prune: true\nswarm: {task_history: 9}\nservices: {a: {image: b}}\n", ""},
		"a file, and then none": {"backup: {dir: /b}\n", "", "backup.dir"},
	} {
		got := Differ(mustLoad(t, tc.a), mustLoad(t, tc.b))
		if !slices.Equal(got, strings.Fields(tc.want)) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
