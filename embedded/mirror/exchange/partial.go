package exchange

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

	errPiece = errors.New("a piece does not match its checksum")
)

// File is what a blob is written to, piece by piece and in any order.
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

// partial is a blob on its way: it takes pieces, gives out those it has, and says
// how far it can be read from the start.
type partial struct {
	digest digest.Digest
	table  *Table
	file   File
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

func newPartial(d digest.Digest, t *Table, sure bool, file File, grown func(int64)) *partial {
	return &partial{
		digest: d, table: t, sure: sure, file: file, grown: grown,
		have: newBitmap(t.pieces()), missing: t.pieces(), changed: make(chan struct{}),
	}
}

// state returns a copy of what is there, and a channel that is closed when there
// is more.
func (p *partial) state() (have Bitmap, missing int, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.clone(), p.missing, p.changed
}

func (p *partial) has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Has(i)
}

// put takes a piece, checks it and writes it. A piece that is there already is
// left as it is, and fresh is false.
func (p *partial) put(i int, data []byte) (fresh bool, err error) {
	if !p.table.check(p.digest, i, data) {
		return false, errPiece
	}
	if p.has(i) {
		return false, nil
	}
	off, _ := p.table.span(i)
	if _, err := p.file.WriteAt(data, off); err != nil { // the same bytes, should two write it
		return false, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.have.Has(i) {
		return false, nil
	}
	p.have.set(i)
	p.missing--
	close(p.changed)
	p.changed = make(chan struct{})
	return true, nil
}

// advance says how much has come together at the start of the blob.
func (p *partial) advance() {
	p.order.Lock()
	defer p.order.Unlock()
	was := p.together
	for p.together < p.table.pieces() && p.has(p.together) {
		p.together++
	}
	if whole := p.together == p.table.pieces(); p.together > was && (whole || p.sure) {
		p.grown(min(int64(p.together)*p.table.Piece, p.table.Size))
	}
}
