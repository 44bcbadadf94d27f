package queue

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// normalisation is how the replies to a command are compared where Redis itself
// promises no bytes. Errors and nulls are compared byte for byte all the same.
type normalisation struct {
	same   func(args []string, redis, subject respValue) error
	reason string
}

// normalised has all of them, by command or by command and subcommand.
var normalised = map[string]normalisation{
	"KEYS":     {sameItems, "a hash table has no order"},
	"SMEMBERS": {sameItems, "a hash table has no order"},
	"SUNION":   {sameItems, "a hash table has no order"},
	"SINTER":   {sameItems, "a hash table has no order"},
	"SDIFF":    {sameItems, "a hash table has no order"},
	"HKEYS":    {sameItems, "a hash table has no order"},
	"HVALS":    {sameItems, "a hash table has no order"},
	"HGETALL":  {samePairs, "a hash table has no order"},

	"SCAN":  {sameCursor, "the cursor is the server's own; @scan compares whole scans"},
	"SSCAN": {sameCursor, "the cursor is the server's own; @scan compares whole scans"},
	"HSCAN": {sameCursor, "the cursor is the server's own; @scan compares whole scans"},
	"ZSCAN": {sameCursor, "the cursor is the server's own; @scan compares whole scans"},

	"SPOP":        {sameShape, "random; membership is looked up afterwards (compareMembership)"},
	"SRANDMEMBER": {sameShape, "random; membership is looked up afterwards (compareMembership)"},
	"HRANDFIELD":  {sameShape, "random; membership is looked up afterwards (compareMembership)"},
	"ZRANDMEMBER": {sameShape, "random; membership is looked up afterwards (compareMembership)"},
	"RANDOMKEY":   {sameShape, "random; membership is looked up afterwards (compareMembership)"},

	"TTL":         {near(1), "two clocks"},
	"EXPIRETIME":  {near(2), "two clocks"},
	"PTTL":        {near(2000), "two clocks"},
	"PEXPIRETIME": {near(2000), "two clocks"},
	"LASTSAVE":    {near(600), "two clocks, and when the server started"},
	"TIME":        {sameTime, "two clocks"},

	"CLIENT ID":       {near(math.MaxInt64), "a server's own count"},
	"COMMAND COUNT":   {near(math.MaxInt64), "the embedded queue serves fewer commands"},
	"HELLO":           {sameButID, "the id is a server's own count"},
	"CLIENT LIST":     {sameFields(clientFields, " ", "="), "a server's own figures"},
	"CLIENT INFO":     {sameFields(clientFields, " ", "="), "a server's own figures"},
	"INFO":            {sameFields(infoFields, "\r\n", ":"), "a server's own figures"},
	"CONFIG GET":      {sameConfig, "a server's own settings"},
	"PUBSUB CHANNELS": {sameItems, "a hash table has no order"},
	"BGREWRITEAOF":    {sameShape, "started or scheduled, as the server has time"},

	"CLIENT SETINFO":  {newer, "Redis 7.2, which redis-py and go-redis send"},
	"CLIENT NO-TOUCH": {newer, "Redis 7.2"},
}

// What redis-py and go-redis read.
var (
	clientFields = strings.Fields("id addr laddr fd name age idle flags db sub psub multi cmd user resp")
	infoFields   = strings.Fields("redis_version redis_mode tcp_port process_id uptime_in_seconds connected_clients " +
		"blocked_clients used_memory used_memory_human maxmemory maxmemory_policy loading aof_enabled role " +
		"total_connections_received total_commands_processed expired_keys keyspace_hits keyspace_misses")
	configNames = strings.Fields("maxmemory maxmemory-policy timeout save appendonly databases proto-max-bulk-len")
)

func normalisationOf(args []string) (normalisation, bool) {
	name := strings.ToUpper(args[0])
	if len(args) > 1 {
		if n, ok := normalised[name+" "+strings.ToUpper(args[1])]; ok {
			return n, true
		}
	}
	n, ok := normalised[name]
	return n, ok
}

// equalReply compares the replies to a command; queued has what EXEC ran.
func equalReply(args []string, queued [][]string, redis, subject respValue) error {
	if redis.raw == subject.raw || refusedByName(args[0], subject) {
		return nil
	}
	if strings.EqualFold(args[0], "EXEC") && len(redis.items) == len(queued) && len(subject.items) == len(queued) {
		for i, args := range queued {
			if err := equalReply(args, nil, redis.items[i], subject.items[i]); err != nil {
				return fmt.Errorf("%q within EXEC: %w", args, err)
			}
		}
		return nil
	}
	n, ok := normalisationOf(args)
	switch {
	case !ok:
		return errors.New("other bytes")
	case redis.isError() && strings.HasPrefix(n.reason, "Redis 7.2"):
	case redis.isError() || subject.isError() || redis.null || subject.null:
		return errors.New("other bytes")
	case redis.kind != subject.kind:
		return errors.New("another type")
	}
	return n.same(args, redis, subject)
}

// refusedByName reports whether a command outside the table was refused in the
// queue's own words, the one class of errors that Redis does not have.
func refusedByName(name string, subject respValue) bool {
	return subject.kind == '-' && strings.Contains(subject.text, "not served by crawlbox's embedded queue; ") &&
		!slices.Contains(commandNames(), strings.ToUpper(name))
}

func sameItems(_ []string, redis, subject respValue) error { return sameChunks(redis, subject, 1) }
func samePairs(_ []string, redis, subject respValue) error { return sameChunks(redis, subject, 2) }

// sameChunks compares items as a multiset of runs of size.
func sameChunks(redis, subject respValue, size int) error {
	if !slices.Equal(sortedChunks(redis.items, size), sortedChunks(subject.items, size)) {
		return errors.New("other items")
	}
	return nil
}

func sortedChunks(items []respValue, size int) []string {
	var out []string
	for chunk := range slices.Chunk(items, size) {
		text := ""
		for _, item := range chunk {
			text += item.raw
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// sameCursor compares the items where both scans were over at once.
func sameCursor(args []string, redis, subject respValue) error {
	if len(subject.items) != 2 || subject.items[0].kind != '$' || subject.items[1].kind != redis.items[1].kind {
		return errors.New("not a cursor and items")
	}
	if _, err := strconv.ParseUint(subject.items[0].text, 10, 64); err != nil {
		return fmt.Errorf("the cursor is no number: %w", err)
	}
	at := 2 // SSCAN key cursor
	if strings.EqualFold(args[0], "SCAN") {
		at = 1
	}
	if args[at] != "0" || redis.items[0].text != "0" || subject.items[0].text != "0" {
		return nil
	}
	return sameChunks(redis.items[1], subject.items[1], scanWidth(args[0]))
}

// scanWidth returns how many items of a scan belong together.
func scanWidth(name string) int {
	if name = strings.ToUpper(name); name == "HSCAN" || name == "ZSCAN" {
		return 2
	}
	return 1
}

// sameShape compares types and lengths all the way down.
func sameShape(args []string, redis, subject respValue) error {
	if redis.kind != subject.kind || redis.null != subject.null || len(redis.items) != len(subject.items) {
		return errors.New("another shape")
	}
	for i := range redis.items {
		if err := sameShape(args, redis.items[i], subject.items[i]); err != nil {
			return err
		}
	}
	return nil
}

// near compares integers above 0; others mean something of their own.
func near(tolerance int64) func([]string, respValue, respValue) error {
	return func(_ []string, redis, subject respValue) error {
		a, err1 := strconv.ParseInt(redis.text, 10, 64)
		b, err2 := strconv.ParseInt(subject.text, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if a <= 0 || b <= 0 || max(a, b)-min(a, b) > tolerance {
			return fmt.Errorf("more than %d apart", tolerance)
		}
		return nil
	}
}

func sameTime(args []string, redis, subject respValue) error {
	if err := sameShape(args, redis, subject); err != nil {
		return err
	}
	return near(2)(args, redis.items[0], subject.items[0])
}

func sameButID(_ []string, redis, subject respValue) error {
	if len(redis.items) != len(subject.items) {
		return errors.New("other fields")
	}
	for i := range redis.items {
		if redis.items[i].raw != subject.items[i].raw && (i == 0 || redis.items[i-1].text != "id") {
			return fmt.Errorf("field %d is %q", i, subject.items[i].raw)
		}
	}
	return nil
}

// sameFields checks that all names are there, as in Redis' reply.
func sameFields(names []string, separator, assign string) func([]string, respValue, respValue) error {
	return func(_ []string, redis, subject respValue) error {
		wanted, got := fieldNames(redis.text, separator, assign), fieldNames(subject.text, separator, assign)
		for _, name := range names {
			if slices.Contains(wanted, name) && !slices.Contains(got, name) {
				return fmt.Errorf("field %s is missing", name)
			}
		}
		return nil
	}
}

func fieldNames(text, separator, assign string) []string {
	var out []string
	for field := range strings.SplitSeq(strings.ReplaceAll(text, "\n", separator), separator) {
		name, _, _ := strings.Cut(strings.TrimSpace(field), assign)
		out = append(out, name)
	}
	return out
}

func sameConfig(_ []string, redis, subject respValue) error {
	if len(subject.items)%2 != 0 {
		return errors.New("a name without a value")
	}
	for i := 0; i < len(redis.items); i += 2 {
		if name := redis.items[i].text; slices.Contains(configNames, name) && !subject.has(name) {
			return fmt.Errorf("setting %s is missing", name)
		}
	}
	return nil
}

// newer accepts a command that this redis-server does not have yet.
func newer(_ []string, _, subject respValue) error {
	if subject.raw != "+OK\r\n" {
		return errors.New("neither OK nor Redis' error")
	}
	return nil
}
