// Package journal keeps the state of a single-threaded store on disk as a log
// of the commands that changed it.
//
// A directory holds segments and at most one valid snapshot:
//
//	snapshot-0000000003   everything up to the end of segment 3
//	segment-0000000004    what came after
//	segment-0000000005    the segment that is written now
//	reserve               room for what was accepted when the disk is full
//	lock                  held while a process uses the directory
//
// The state is the snapshot with the highest number, then every segment with a
// higher number, in order. A snapshot takes its name by an atomic rename once
// it is complete and synced, and what it replaces is deleted only after that.
// So a crash at any step of a rewrite leaves either the old files, all of them,
// or the new snapshot with files that no longer count and go at the next start.
//
// # Writing
//
// Append copies records into memory and never waits for the disk. Run writes
// them with one write and one fsync each SyncInterval. A failed write or fsync
// is undone by truncating to the last synced byte and repeated from memory, as
// the kernel may drop dirty pages after a failed fsync. Admit is the gate in
// front of Append: it reports a failing disk, and holds back writers while the
// disk is more than MaxLag behind, which bounds what a crash can lose. On a disk that
// is full the reserve is given up for what was accepted so far; Admit lets nothing pass
// that half of the reserve has no room for, nor anything while there is none.
//
// # Rewriting
//
// When the segments have outgrown the snapshot, Run asks Source for the state of
// one moment, ends the current segment at that moment, and writes the state down
// beside the store's work.
//
// # Reading
//
// A record is a header (length, CRC-32C of the payload, CRC-32C of the header)
// and a payload, one batch of commands that holds together. The last record of
// the last segment may be cut off: it is dropped and the file truncated. The
// checksum of the header makes the length trustworthy, so that a damaged record
// in the middle is told from a cut-off one and reported as a *CorruptError.
package journal
