// Package holder tells the process of the queue whose connections it has, and how those end: which
// container holds the other end of one, and how did that container end. An item of the queue that a
// container took is put back when it ended otherwise than by having done its work.
//
//	queue (own user, no rights)          node (root)
//	ask.Client ── socket pair ─────────▶ Server ─── finder ──▶ /proc    who has the connection
//	                                            └── table ───▶ Docker   what runs, what ended and how
//
// The process parses what strangers send and may be in their hands: what it asks is bounded in size, in
// number and in pace, and answers are all that it gets. It can ask for any connection; what it
// learns by that are names of containers.
//
// # Whose connection it is
//
// An address says little: on the host's network all have the same, and a bridge gives the address of
// one that ended to the next. So the kernel is asked, for a socket with both addresses, in whatever network
// namespace: its process is in groups (cgroups) that are named for the container. As long as the connection
// stands no other socket has both of its addresses, and what is not exactly it is nobody's:
//
//   - The container ended a moment ago: there is no socket, so it is nobody.
//   - Another has its address, and even its port: a socket of one that began after the connection was
//     accepted is not it.
//   - The number of a process became another's: a process is known by when it began, too.
//   - The container was started again: a run is named by when it began, and its first process must be
//     among those that were seen.
//
// # How it ended
//
// Docker tells that in events, which are remembered, as Swarm removes containers at once. An exit code of 0
// is work done only if Docker did not send a signal before, as for `docker stop`, a smaller scale, or
// the end of Docker itself: programs that take SIGTERM well end with 0 too. Where nobody watched, since Docker
// or crawlbox did not run, that can't be told any more, and it counts as stopped.
package holder
