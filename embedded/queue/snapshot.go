package queue

import (
	"maps"
	"slices"
	"strconv"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// chunk is how many items of a long value one command of a snapshot carries.
const chunk = 500

// rewrite is the journal.Rewriter: it replays the old files into a store of its
// own and writes that one down as the fewest commands that make it.
func rewrite(load func(func([]journal.Command) error) error, emit func([]journal.Command) error) error {
	s, err := newStore()
	if err != nil {
		return err
	}
	defer s.close()
	if err := load(s.replayBatch); err != nil {
		return err
	}
	return s.dumpAll(emit)
}

// dumpAll emits the commands that make everything in the store.
func (s *store) dumpAll(emit func([]journal.Command) error) error {
	for db := range databases {
		for _, key := range s.redis.DB(db).Keys() {
			if err := s.dump(dbKey{db, key}, emit); err != nil {
				return err
			}
		}
	}
	return nil
}

// dump emits the commands that make the key at k.
func (s *store) dump(k dbKey, emit func([]journal.Command) error) error {
	var err error
	send := func(args ...string) {
		if err == nil {
			err = emit([]journal.Command{{DB: k.db, Args: args}})
		}
	}
	db := s.redis.DB(k.db)
	switch db.Type(k.key) {
	case "string":
		value, _ := db.Get(k.key)
		send("SET", k.key, value)
	case "list":
		for from := 0; ; from += chunk {
			items, _ := s.slice(k, from, from+chunk-1)
			if len(items) == 0 {
				break
			}
			send(append([]string{"RPUSH", k.key}, items...)...)
		}
	case "set":
		members, _ := db.Members(k.key)
		sendChunks(send, "SADD", k.key, members, chunk)
	case "hash":
		sendChunks(send, "HSET", k.key, s.hashPairs(k), 2*chunk)
	case "zset":
		sendChunks(send, "ZADD", k.key, s.scorePairs(k), 2*chunk)
	case "stream":
		s.dumpStream(k, send)
	}
	if at, ok := s.deadline(k); ok {
		send("PEXPIREAT", k.key, strconv.FormatInt(at, 10))
	}
	return err
}

func sendChunks(send func(...string), name, key string, items []string, size int) {
	for part := range slices.Chunk(items, size) {
		send(append([]string{name, key}, part...)...)
	}
}

func (s *store) hashPairs(k dbKey) []string {
	return parseStrings(s.ask(k.db, "HGETALL", k.key))
}

func (s *store) scorePairs(k dbKey) []string {
	scores, _ := s.redis.DB(k.db).SortedSet(k.key)
	pairs := make([]string, 0, 2*len(scores))
	for _, member := range slices.Sorted(maps.Keys(scores)) {
		pairs = append(pairs, strconv.FormatFloat(scores[member], 'g', -1, 64), member)
	}
	return pairs
}

// dumpStream ends with the highest id ever given, which the stream remembers
// after the entry is gone.
func (s *store) dumpStream(k dbKey, send func(...string)) {
	last, top := s.lastStreamID(k), ""
	entries, _ := s.redis.DB(k.db).Stream(k.key)
	for _, entry := range entries {
		send(append([]string{"XADD", k.key, entry.ID}, entry.Values...)...)
		top = entry.ID
	}
	if last != top {
		send("XADD", k.key, last, "", "")
		send("XDEL", k.key, last)
	}
}
