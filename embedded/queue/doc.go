// Package queue is a small Redis inside the manager: a job queue for crawlers
// that survives restarts and needs nothing installed. It speaks the Redis
// protocol (RESP2 and RESP3) with a password, and keeps its data in memory with
// a journal on disk.
//
// # How it is made
//
// miniredis holds the data and knows the commands; it was written for tests, so
// the rest is here. A command passes through these layers:
//
//	strangers who connects and does not log in makes room for who comes next
//	attempts  how often an address may try a password
//	conn      one client: protocol with limits, password, pipelining
//	session   MULTI, WATCH, SELECT, blocking
//	core      one mutex, one command after the other, as in Redis
//	store     notes the effects; deadlines, long lists
//	engine    miniredis, without its network
//	journal   effects on disk, in the order of execution (package journal)
//
// miniredis' own server is left out: an empty request makes it panic and the
// announced length of an argument is allocated before the password came. Its
// blocking commands, transactions and clock are left out too, for each would
// change data at a moment that the journal does not see.
//
// # What is written to disk
//
// The effect of a command, not always the command: SPOP is noted as SREM, EXPIRE
// as PEXPIREAT, XADD * with the id it got, BLPOP as LPOP, a key that expired as
// DEL. A transaction, or a script with everything it called, is one record. A
// command whose effect cannot be noted or written down again is refused by name:
// HyperLogLogs, deadlines of hash fields, consumer groups, DUMP and RESTORE,
// COPY, MOVE, SWAPDB. Publish and subscribe is refused as well.
//
// The mutex is held while a command runs and its effects are appended to the
// journal's buffer, so the journal has the order of execution. Writing and
// fsync happen beside it, every 200 ms by default. A client that blocks holds
// nothing; it is served by the command that brings the item, first come first
// served.
//
// # Strangers
//
// Without the password a client can send HELLO, AUTH and QUIT, small, for ten
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
// last, is missing; after a clean stop nothing. When the disk is full or too slow to keep
// that promise, writes get a MISCONF error and reads go on.
//
// Everything has to fit into memory, twice while the journal is rewritten, and
// lives on one node. A request may have 64 MiB. Scripts have no time limit.
//
// Pushes and pops at both ends of a list, SADD, ZADD, SET and the like take the
// same time at any size: LPUSH, which copies the list in miniredis, goes by way
// of a head of our own (see lists). Commands that sort or scan take time in
// proportion to the size of the key, and others wait meanwhile: ZRANGE, ZRANK,
// ZPOPMIN, ZPOPMAX and SPOP of a large set, SMEMBERS, HGETALL, KEYS, SCAN.
package queue
