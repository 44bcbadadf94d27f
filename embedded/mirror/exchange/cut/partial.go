package cut

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrNoRoom wraps what goes wrong with the file that a blob is written to.
	ErrNoRoom = errors.New("the blob cannot be written")

	ErrPiece = errors.New("a piece does not match its checksum")
)

// File takes a blob, piece by piece and in any order.
type File interface {
	io.WriterAt
	// Open opens it for a reader that may outlast the fetch. It fails after Sink.Keep.
	Open() (ReadAtCloser, error)
}

// ReadAtCloser is a file that is read here and there.
type ReadAtCloser interface {
	io.ReaderAt
	io.Closer
}

// Partial is a blob on its way: it takes pieces, gives out those it has, and says
// how far it can be read from the start.
type Partial struct {
	Digest digest.Digest
	Table  *Table
	File   File
	// sure is set where the table comes from a tracker. What was checked by another one
	// can be read only once it has all led to the digest.
	sure  bool
	grown func(readable int64)

	mu      sync.Mutex
	have    Bitmap
	missing int
	changed chan struct{} // closed and made anew with each piece

	order    sync.Mutex // of what grown is told
	together int        // pieces from the start on
}

// NewPartial returns a blob of which nothing is there yet. sure: its table needs no
// doubt. grown is told how far it can be read from the start.
func NewPartial(d digest.Digest, t *Table, sure bool, file File, grown func(int64)) *Partial {
	return &Partial{
		Digest:  d,
		Table:   t,
		sure:    sure,
		File:    file,
		grown:   grown,
		have:    NewBitmap(t.Pieces()),
		missing: t.Pieces(),
		changed: make(chan struct{}),
	}
}

// State returns a copy of what is there, and a channel that is closed when there
// is more.
func (p *Partial) State() (have Bitmap, missing int, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Clone(), p.missing, p.changed
}

func (p *Partial) Has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Has(i)
}

// Put takes a piece, checks it and writes it. A piece that is there already is
// left as it is, and fresh is false.
func (p *Partial) Put(i int, data []byte) (fresh bool, err error) {
	if !p.Table.check(p.Digest, i, data) {
		return false, ErrPiece
	}
	if p.Has(i) {
		return false, nil
	}
	off, _ := p.Table.Span(i)
	if _, err := p.File.WriteAt(data, off); err != nil { // the same bytes, should two write it
		return false, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.have.Has(i) {
		return false, nil
	}
	p.have.Set(i)
	p.missing--
	close(p.changed)
	p.changed = make(chan struct{})
	return true, nil
}

// Advance says how much has come together at the start of the blob.
func (p *Partial) Advance() {
	p.order.Lock()
	defer p.order.Unlock()
	was := p.together
	for p.together < p.Table.Pieces() && p.Has(p.together) {
		p.together++
	}
	if whole := p.together == p.Table.Pieces(); p.together > was && (whole || p.sure) {
		p.grown(min(int64(p.together)*p.Table.Piece, p.Table.Size))
	}
}
