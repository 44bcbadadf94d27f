// Package lease makes pops of a queue safe for consumers that know nothing of it: what is
// popped is written down, in the same step, as held by who popped it, and goes back to where
// it was when that one ends without being done.
//
// # What a pop becomes
//
// [Rules.Rewrite] says what to send in place of a pop of a key that is safe: a script that
// pops, notes an entry for each item in the list of its holder, and replies as the pop would
// have (package script). The engine runs it in one step, so whatever dies, and whenever, an
// item is in its queue or held, never neither.
//
// An item is done when its holder has popped Window newer ones, or ends well. So after a crash
// up to Window items may be handed out twice, or as many as the last pop took where that is
// more: a pop of many never ends a lease of its own. Several processes in one container are one
// holder and share its window.
//
// # Who holds
//
// A holder is a container, or a connection from elsewhere. Its lease lasts as long as it
// lives, never for a time. The caller knows when it ends, and how, and calls [Settle].
//
// A reply that may not have reached its consumer is the caller's to undo: the consumer would
// pop on, and the window end a lease of what nobody has seen. [Undo] gives back the items of
// one pop, [Rules.Unsure] the last pop of each connection, for a caller that has died itself. Neither counts as a
// delivery.
//
// # Scripts that the engine does not know
//
// [Load] teaches them, on a new connection to an engine. Where a SCRIPT FLUSH or a failover
// made it forget them, the reply begins with NOSCRIPT and nothing has happened: send
// [Pop.Eval]. In a transaction that would be too late, so there the whole text is sent.
//
// # In the database
//
// Keys of the leases are in the database of the client (package script lists them), so all
// functions here are for one database, and the caller goes through those that are used. They
// need Redis 6.2 or later, or Valkey, and no more than EVALSHA and plain commands.
package lease
