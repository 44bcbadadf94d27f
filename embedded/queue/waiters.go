package queue

import (
	"slices"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// waiter is a client in a blocking command.
type waiter struct {
	request
	reply chan string // has room for the one reply
}

// waiters are the clients that wait for a key, in the order they came: the one
// that waits longest is served first.
type waiters map[dbKey][]*waiter

func (ws waiters) add(w *waiter) {
	for _, k := range w.keys {
		ws[k] = append(ws[k], w)
	}
}

func (ws waiters) remove(w *waiter) {
	for _, k := range w.keys {
		rest := slices.DeleteFunc(ws[k], func(other *waiter) bool { return other == w })
		if len(rest) == 0 {
			delete(ws, k)
			continue
		}
		ws[k] = rest
	}
}

// serve gives what now is at k to those who wait for it.
func (ws waiters) serve(k dbKey, s *store) {
	for _, w := range slices.Clone(ws[k]) {
		reply, done := w.try(s)
		if done {
			ws.remove(w)
			w.reply <- reply
			continue
		}
		if !w.shared {
			return // the others would find nothing either
		}
	}
}

// touched returns the keys that an effect may have changed.
func touched(cmd journal.Command) []dbKey {
	var keys []dbKey
	for key := range commands[cmd.Args[0]].keysOf(cmd.Args) {
		keys = append(keys, dbKey{cmd.DB, key})
	}
	return keys
}
