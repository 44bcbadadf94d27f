package exchange

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// Network reaches other nodes, which are named by address and port. It must
// be safe for concurrent use. Errors other than those below mean that the node
// does not answer as it should.
type Network interface {
	// Table asks how a blob is cut.
	Table(ctx context.Context, node string, d digest.Digest) (*cut.Table, error)
	// Join tells a tracker that this node takes part in the exchange of a blob, and
	// returns some others that do.
	Join(ctx context.Context, tracker string, d digest.Digest) (nodes []string, err error)
	// Follow calls see with what a node has of a blob, at once and whenever there is
	// more, until it has the whole or gives the blob up, which is no error.
	Follow(ctx context.Context, node string, d digest.Digest, see func(News)) error
	// Take asks for a piece, and returns when it has come, or as much as does.
	Take(ctx context.Context, node string, d digest.Digest, ask Ask, to Landing) error
}

// Landing takes a piece that comes in. Its methods are called one after the other, and not
// after Take has returned.
type Landing interface {
	// Begin is told which piece comes, and returns where to put it, which is as long as
	// the piece.
	Begin(piece int) (room []byte, err error)
	// Got is told of so many more bytes. It returns when more may come.
	Got(n int) error
}

var (
	// ErrUnknown says that the node has nothing of the blob, or not this piece.
	ErrUnknown = errors.New("the node does not have it")
	// ErrBusy says that the node sends to as many others as it will at a time.
	ErrBusy = errors.New("the node is busy")
	// ErrEnough says that the node has given each of the pieces out often enough for others to
	// have them.
	ErrEnough = errors.New("the node leaves this to others")
)

// News says what a node has of a blob.
type News struct {
	Have  cut.Bitmap `json:"have"`
	Nodes []string   `json:"nodes,omitempty"` // others that take part
}

// Ask names one piece or, to a node that has all, those of which any will do.
type Ask struct {
	Piece  int        `json:"piece"` // if Want is empty
	Want   cut.Bitmap `json:"want,omitempty"`
	Urgent bool       `json:"urgent,omitempty"` // nobody else is known to have one of them
}
