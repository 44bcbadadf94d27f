// Package mirror is the registry at 127.0.0.1:8003 of a worker: what its Docker
// Engine pulls comes from the manager, and stays on disk within a size limit.
//
// A blob is fetched once, however many ask for it at a time. Readers follow the
// file as it grows; one that comes late gets the beginning from disk. The last bytes
// of a blob are handed out only after its digest is right, and only then is it
// kept, so that neither Docker nor the cache ever takes a wrong blob for whole.
// A reader that goes away does not stop the download, which goes on for a while
// also without any. When the upstream breaks off, the download goes on where it
// was.
//
// Tags are asked of the manager each time and never remembered: a stale tag
// would start the wrong program. With the manager away, what is named by a
// digest and was fetched before still comes, and a tag gets UNAVAILABLE.
//
// Each request names a repository, which is passed on, as the manager checks
// that the blob is in it. What is in the cache is given out under any
// repository name: all workloads of one cluster trust each other, and everyone
// a client that reaches the mirror may read everything on the manager.
//
// Over its limit the cache drops what was not used for the longest time. Images that
// are pinned, with all that they consist of, go last: what a cluster may go back to
// should not have to travel again. Pins are an order, no promise; a pull never fails
// for them. What was kept is read through after a start, slowly, and what the disk
// has damaged is dropped.
//
// The parts, from below: cache (files and their limit), pins, scrub, download (a
// growing file; knows nothing of HTTP, its bytes come through a fetcher), upstream
// (the fetcher that asks a Source), and the handler.
package mirror
