package queue

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

// startCompareSubject starts the server that is compared with redis-server.
func startCompareSubject(t testing.TB) redisServer {
	t.Helper()
	q := startQueue(t, testOptions(t.TempDir()))
	return redisServer{addr: q.Addr(), password: testPassword}
}

// commandNames returns the commands that the queue serves, except for its own, and for those of
// scripts, of which it knows three.
func commandNames() []string {
	names := append(engine.Names(), slices.Collect(maps.Keys(serverCommands))...)
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, "EVAL") || name == "SCRIPT" || strings.HasPrefix(name, "CRAWLBOX.")
	})
	slices.Sort(names)
	return names
}
