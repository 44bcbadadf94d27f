// Package state keeps what a cluster must not lose, as named documents: a few dozen of a few
// KiB each, and the history of each service. A commit changes several of them at once or
// none, and only those that nobody has changed since they were read.
//
// It is a small git: a commit names the contents of all documents by their SHA-256, its parent,
// author, time and epoch, and has the contents that it changes in it; the head is the newest
// commit. But for the head nothing is changed once it is written, so a commit is there from when
// the head is replaced, and a power cut at any point leaves the old state or the new one.
//
// # Managers
//
// Disk keeps the commits on this node's disk. Which is the newest is for Swarm's raft to say, so that
// managers agree on it without a second consensus: a label of one config, which Swarm changes only
// for who knows what it was. To commit is to bring the commit to a majority of managers, to make it
// the newest there, and then here; who was slower takes over what was made, and decides again. Reads
// answer from this disk and go on without quorum, and without Docker; commits fail then. What Swarm
// says may be what was before the last change, for a moment after the loss of its leader. That cannot
// be changed, so nobody goes on from it.
//
// # Files of versions before
//
// Versions before this one kept each document in a file of its own in the data directory.
// The first start takes those that are there over, in one commit. From then on each commit
// also writes the documents that it changes to these files, after the head, so that a version
// before finds the state as it is. Only now and then, and at the end, it is waited until the disk
// has them, and then it is written down which commit they are of. When this version starts again,
// a file that has neither the document nor a content of it since that commit was written by a
// version before in the meantime, and is taken over if it can be read as the document; any other is
// put right. Where all are gone, a version before has left its cluster, and the documents go too.
// The history of deploys was a directory with a file for each service, which stays when a cluster
// is left.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// Limits of a store.
const (
	// MaxDocument is the longest document, in bytes: a list of 5,000 members has 2 MiB.
	MaxDocument = 8 << 20
	// MaxDocuments is how many there are at most: one is for each service, and for some that are gone.
	MaxDocuments = 16384
	// keepCommits is how many commits are kept, with what they name. A commit on a base
	// that is older is a conflict.
	keepCommits = 32
)

// Documents of a cluster.
const (
	CA         = "ca"
	Tokens     = "tokens"
	Members    = "members"
	Removals   = "removals"
	GossipKeys = "gossip-keys"
	Accounts   = "accounts"
	Numbers    = "image-numbers"
	Recovery   = "recovery" // the key that opens backups
	// HomeFiles holds the files of the manager with the queue that go into backups, whoever makes them.
	HomeFiles = "home-files"
	// Services holds the services that are in force, and of whose config file they are.
	Services = "services"
	// Away holds the services of the config file that were removed by hand.
	Away = "services-away"
	// Queue holds how services reach the cluster's queue.
	Queue = "queue"
	// Valkey holds where the queue's Valkey is, with its password.
	Valkey = "valkey"
	// Schedules holds the schedules of runs, and how far each has come.
	Schedules = "schedules"
	// Alerts holds what people are told of, and what is still to be told.
	Alerts = "alerts"
	// Replicas holds the managers that have the state.
	Replicas = "replicas"

	History = "history/" // and the name of a service
	Tags    = "tags/"    // of images, spread over documents
	Runs    = "runs/"    // and the name of a service, image or schedule, and a number
)

var (
	// ErrNotFound is returned for a document that does not exist. It is fs.ErrNotExist too.
	ErrNotFound error = notFound{}
	// ErrConflict is returned by Commit where a document was changed since the base: read
	// it again, and decide again.
	ErrConflict = errors.New("the document was changed by somebody else in the meantime")
)

type notFound struct{}

func (notFound) Error() string        { return "there is no such document" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

// Version is the ID of a commit; empty before the first.
type Version string

// Entry is a document in a list.
type Entry struct {
	Name string
	Size int
	Hash string // SHA-256 of its content
}

// Commit is what is known of one.
type Commit struct {
	Parent  Version   `json:"parent,omitempty"`
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
	Epoch   int       `json:"epoch"`
	Message string    `json:"message"`
}

// Store has documents. Its methods may be called at the same time. Read and List answer from
// this node and do not wait for anybody; Commit may.
type Store interface {
	// Read returns a document, and the version that it is of. The error is ErrNotFound
	// where there is none, also with a version.
	Read(name string) (data []byte, v Version, err error)
	// List returns the documents whose names begin with a prefix, by name.
	List(prefix string) ([]Entry, Version, error)
	// Commit changes documents, all or none; nil deletes one. The error is ErrConflict where
	// one of them is not what it was at base, or one of those that were read to decide.
	Commit(ctx context.Context, base Version, changes Contents, message string, read ...string) (Version, error)
	// Changed returns a channel that is closed at the next commit.
	Changed() <-chan struct{}
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// check refuses changes that no store takes.
func check(changes Contents) error {
	for name, data := range changes {
		switch {
		case len(name) > 128 || !validName.MatchString(name) || strings.Contains(name, ".."):
			return fmt.Errorf("invalid name of a document: %.128q", name)
		case len(data) > MaxDocument:
			return fmt.Errorf("document %s has %d bytes, the limit is %d", name, len(data), MaxDocument)
		}
	}
	return nil
}
