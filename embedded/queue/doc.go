// Package queue is a small Redis: a job queue for crawlers that survives restarts
// and needs nothing installed. It speaks the Redis protocol (RESP2 and RESP3) with
// a password, and keeps its data in memory with a journal on disk.
//
// # How it is made
//
// A command passes through these layers:
//
//	admission  who may come in, try a password, and leave how much waiting (package admission)
//	conn       one client: reading, writing, waiting for an item
//	session    password, MULTI, WATCH, SELECT, pub/sub, and commands about clients
//	core       one mutex, one command after the other, as in Redis
//	engine     the data and the commands on it (package engine)
//	journal    effects on disk, in the order of execution (package journal)
//
// The mutex is held while a command runs and its effects are appended to the
// journal's buffer, so the journal has the order of execution. Writing and fsync
// happen beside it, every 200 ms by default. Nobody who holds it waits for a client:
// what a client does not read is kept for it, within bounds, and written by a
// goroutine of its own. A client that blocks holds nothing; it is served by the
// command that brings the item, first come first served, and its end is noticed
// though it sent more behind its wait.
//
// # What is served
//
// An allow-list: strings and their bits, lists, sets, sorted sets, hashes, deadlines,
// SCAN, MULTI and WATCH, blocking pops, pub/sub, keyspace notifications for those who
// listen (of all keys, lists, sets and sorted sets), and what clients ask of a connection;
// replies are those of Redis 7.0 to the byte, which a comparison with a real
// redis-server holds it to. Of scripts those of redis-py's Lock, since Celery needs one,
// and those of the leases (package lease) are known by their hash and done without Lua.
// Streams, other scripts, places, HyperLogLogs and the rest are refused by name, with what
// to do; a client that goes on asking
// for them is answered later and later.
//
// # Strangers
//
// Without the password a client can send HELLO, AUTH, RESET and QUIT, small, for ten
// seconds. The thousandth-and-first such connection ends the oldest. A wrong
// password costs its address a token of ten that come back one a second; without
// one, attempts stand in line and are not looked at before their turn, and where
// the line is long they are refused and told for how long. So an address guesses
// once a second at most, while a client with the right password, which costs
// nothing, gets in at its turn. Three wrong ones end a connection.
//
// # Limits
//
// After kill -9 or a power cut at most one second of acknowledged writes, the
// last, is missing; after a clean stop nothing. When the disk is full or too slow to
// keep that promise, writes get a MISCONF error and reads go on.
//
// Everything has to fit into memory, and lives on one node. Of Options.MaxMemory data
// may take three quarters; then commands that make it larger get Redis' OOM error. What
// clients leave waiting (large requests, transactions, replies that nobody reads,
// watches, subscriptions) shares the rest, and so does a reply; where that is used up,
// the client that holds most is cut off. A rewrite of the journal copies a value before
// its first change, 16 to 40 bytes an item.
//
// Commands take the time that they take in Redis: those at the ends of lists and sorted
// sets, ranks, members, random picks and bits the same, or nearly, at any size; those
// that read or write all of a value, or all keys, in proportion, while others wait.
//
// A panic, or a write that the journal refuses, ends Run: what is in memory may differ
// from the journal then, and the next start loads that.
package queue
