// Package script has the scripts of the leases, and the form of what they keep. A Redis or
// Valkey runs them as they are, in Lua; the embedded engine knows them by their SHA-1 and does
// the same without Lua. So whatever changes here has to change there too, and the comparison in
// package lease holds both to it.
//
// # What is kept, in the database of the client
//
//	crawlbox:held:HOLDER  list of entries, the oldest first; see [Slack]
//	crawlbox:holders      hash HOLDER → what is known of it, while it has entries
//	crawlbox:tries        hash ITEM → how often it came back, until it is done or dead
//	crawlbox:died         hash ITEM → where a dead one was, to put it back
//	crawlbox:leaving:ID   there for some time, while who has that ID gets nothing: it is about to be ended; in the
//	                      database that clients begin in, of which keepers ask for pops in others
//	KEY:dead              list of dead items as they were
//
// There is one hash for the items of all keys, by [Entry.Field], because one pop can end
// leases of items of other keys.
package script

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
)

// Keys of the leases.
const (
	Prefix     = "crawlbox:"
	HeldPrefix = Prefix + "held:"
	Holders    = Prefix + "holders"
	Tries      = Prefix + "tries"
	Died       = Prefix + "died"
	Leaving    = Prefix + "leaving:"
	DeadSuffix = ":dead"
)

// ErrLeaving is the reply to a pop of who is about to be ended, but in a transaction, whose other commands have shown
// it the items.
const ErrLeaving = "LEAVING the consumer is about to be ended"

// IDOf returns the ID that the name of a holder begins with.
func IDOf(name string) string {
	if i := strings.IndexAny(name, "@~"); i >= 0 {
		return name[:i]
	}
	return name
}

// Entries that are done may stay for a while, since it costs less to take some away at once.
// Of a list of entries those count that are among the newest WINDOW, or among the ones of the
// newest pop: the ones with its stamp.
const (
	Slack      = 32   // entries that are done stay
	SlackBytes = 1024 // entries as large as this are not waited for
)

// Script is a script by text and name.
type Script struct{ Text, SHA string }

//go:embed take.lua
var takeText string

//go:embed settle.lua
var settleText string

//go:embed retry.lua
var retryText string

var (
	Take   = parse(takeText)   // pops
	Settle = parse(settleText) // ends leases
	Retry  = parse(retryText)  // empties a list of dead items
)

// All are the scripts that an engine has to know.
var All = []Script{Take, Settle, Retry}

// parse takes what only readers need out of a script, since its text travels with each
// transaction.
func parse(text string) Script {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "--") {
			b.WriteString(line + "\n")
		}
	}
	return Script{Text: b.String(), SHA: SHA(b.String())}
}

// SHA returns the name of a script.
func SHA(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Kinds of entries: where an item was.
const (
	Left   = 'L' // end of a list
	Right  = 'R' // end of a list
	Set    = 'S'
	Sorted = 'Z'
)

// Entry is an item that somebody holds.
type Entry struct {
	Kind  byte
	Stamp string // of the pop; has no colon
	Score string // of an item of a sorted set, as the engine writes it
	Key   string
	Item  string
}

// String returns the form in which an entry is kept: kind and stamp, score, length of the
// key, key and item.
func (e Entry) String() string { return string(e.Kind) + e.Stamp + ":" + e.Score + ":" + e.Field() }

// Field returns what the item is called in hashes.
func (e Entry) Field() string { return Field(e.Key, e.Item) }

// Field returns what an item of a key is called in hashes.
func Field(key, item string) string { return strconv.Itoa(len(key)) + ":" + key + item }

// Parse reads an entry, and reports whether it is one.
func Parse(s string) (e Entry, ok bool) {
	head, rest, ok1 := strings.Cut(s, ":")
	score, rest, ok2 := strings.Cut(rest, ":")
	digits, rest, ok3 := strings.Cut(rest, ":")
	size, err := strconv.ParseUint(digits, 10, 31)
	if !ok1 || !ok2 || !ok3 || err != nil || int(size) > len(rest) || head == "" {
		return Entry{}, false
	}
	return Entry{Kind: head[0], Stamp: head[1:], Score: score, Key: rest[:size], Item: rest[size:]}, true
}
