// Package registry is the image registry of a crawlbox manager: CNCF
// distribution v3 inside the process, with its data in one directory.
//
// distribution brings the API and the layout of the directory. This package adds
// what a registry needs that nobody looks after:
//
//   - A garbage collection that runs beside pushes. distribution's own
//     MarkAndSweep wants the registry stopped.
//   - A disk that fills up fails the push with one clear error that Docker does
//     not retry, keeps some bytes free for the rest of the machine, and leaves
//     no half-written file behind.
//   - A configuration error is an error, where handlers.NewApp panics.
//
// # How the collection keeps out of the way of pushes
//
// A push checks or uploads blobs first and names them in a manifest last. In
// between, nothing refers to them. So the storage driver sets the modification
// time of a blob, and of its link in the repository, whenever a client is told
// that it is there: on HEAD, GET, cross-repository mount, a finished upload and
// the checks of a manifest PUT. A collection deletes only what was last
// mentioned before its start minus a grace period. The times are on disk, so
// they survive a restart. A lock makes "look and touch" and "look and delete"
// exclude each other, one digest at a time.
//
// The mark phase starts behind a barrier that waits for the manifest PUTs under
// way. Each PUT is thus either wholly before it, and its links are seen, or
// touches all it refers to after it, and is safe whatever the grace is.
// The sweep takes parents before children. A client that finds an old manifest
// present may skip that manifest's layers; if it does so in mid-sweep, the
// manifest is found touched and all beneath it is kept.
//
// The grace would also keep what a user has just removed to make room. So an
// image whose tag was removed loses it at the next collection, except for the blobs
// that a push under way was told of. A push is taken for ended when it named a
// tag, or asked for nothing for longer than Docker rests between two tries. A
// report says how much the grace keeps, and until when.
//
// The blob descriptor cache of distribution is off: it would go on answering
// for blobs that are gone.
//
// # What it cannot avoid
//
// distribution logs through logrus's standard logger and hides the key with
// which a context could carry another one, so the first Open redirects that
// logger, for the process, to the slog.Logger of the latest Open.
// NewApp starts one goroutine (an event broadcaster without listeners) that
// nothing can stop; Close leaves it behind.
package registry
