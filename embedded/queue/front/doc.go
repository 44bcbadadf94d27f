// Package front passes what Redis clients say to an engine: any server that speaks Redis. It lets them in with the
// cluster's password, within the same bounds as the embedded queue does, logs itself in at the engine with the
// engine's, and is otherwise not noticed: streams, scripts, publish/subscribe, RESP3, MONITOR and blocking commands
// are the engine's to answer.
//
// Each client has a connection to the engine of its own, so that blocking, MULTI, WATCH and subscriptions need
// no thought here. Two goroutines copy, one in each direction, in large pieces:
//
//	client ──▶ session   finds where each request begins, and its name      ──▶ engine
//	client ◀── session   finds where each reply ends, to count them         ◀── engine
//
// Nothing is kept but what is in their buffers, which are given back while there is nothing to read: who does not
// read its replies holds up itself, and a large value passes through in pieces. So 5,000 idle clients take little.
//
// # What is not passed on
//
// AUTH, HELLO, RESET and QUIT are the front's own; the engine is told of the protocol and the name. So that
// nobody who knows the cluster's password can stop the engine, have it write files, follow another server or hold up
// all others, the front refuses with NOPERM: ACL but for WHOAMI, CAT, GENPASS and HELP; BGREWRITEAOF, BGSAVE, SAVE,
// SHUTDOWN, DEBUG, FAILOVER, MIGRATE, REPLICAOF, SLAVEOF, SYNC, PSYNC, REPLCONF; CLIENT KILL, PAUSE, UNPAUSE and
// NO-EVICT; CLUSTER but for what reads; CONFIG but for GET of single settings that are no secret; MODULE but for LIST;
// SCRIPT DEBUG. A script can still call what the engine lets scripts call; a user of the engine with few rights (ACL)
// is the better bound, and data are any client's to delete, as they are in Redis.
//
// A request is passed on as it is where it is written as client libraries do. All others, such as one typed by hand,
// are read whole and written anew: what the front read is what the engine reads.
//
// # When the engine is gone
//
// A client that awaits no reply, and has no MULTI, WATCH, subscription or the like, does not notice that the engine
// was: with its next command the front connects anew and repeats HELLO, SELECT and CLIENT SETNAME. Whoever awaits a
// reply then, which may or may not have been done, has its connection closed, without an error: go-redis, redis-py
// and ioredis all try again after that, while of errors each knows others.
//
// While the engine cannot be reached a command waits a little for it, and then gets a LOADING error that says where
// the engine should be and what is wrong; the client stays connected. It is the error that go-redis tries again
// after, and that redis-py takes for one of the connection. One client at a time tries to connect then, after pauses
// that grow to a second.
//
// # Front before a front
//
// The engine may be another front ([Engine.Front]): a machine's clients get to the one beside the engine by the one on
// their machine. That says CRAWLBOX.FRONT once it has logged in, and the other rewrites nothing of what comes over the
// connection: the first has. It is no privilege. Who has the password may say it too, and pop without leases, as it may
// delete all.
//
// [Server.SetEngine] has clients get to another engine from then on. To them it is as if the engine was gone and is
// there again.
//
// An engine that takes no writes while it has no replica says NOREPLICAS, and one that has become a replica READONLY,
// which few libraries try again after: clients are told LOADING instead.
//
// # Rewriting
//
// A [Rewriter] sees some commands whole, and may have another sent instead, change the reply that it has in a
// transaction, or have the client wait for one that it makes itself out of several. The same commands in a row, as a
// client pipelines them, may be done at once. All other commands are passed on as without it.
//
// For that the front has to know which reply is whose. Who subscribes to something gets none, or several: before the
// front makes a reply it has the engine answer a PING with a word that nobody knows: all before that is the client's.
// CLIENT REPLY it keeps track of: for a reply that it needs itself it switches replies on for a moment. Only of who
// watches all commands (MONITOR), or says CLIENT REPLY in a transaction, it knows no longer: what is rewritten does not
// wait then.
package front
