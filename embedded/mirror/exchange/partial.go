package exchange

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrDigest means that the pieces are right and the blob is not: who made the
	// table lied.
	ErrDigest = errors.New("the content does not match the digest")
	// ErrNoRoom wraps what goes wrong with the file that a blob is written to.
	ErrNoRoom = errors.New("the blob cannot be written")

	errPiece = errors.New("a piece does not match its checksum")
)

// File is what a blob is written to, piece by piece and in any order.
type File interface {
	io.ReaderAt
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
	// sure is set where the table comes from who made it. What is written by another
	// table can be read only once the digest of the whole is right.
	sure  bool
	grown func(readable int64)

	mu      sync.Mutex
	have    Bitmap
	missing int
	changed chan struct{} // closed and made anew with each piece

	order    sync.Mutex // of the pieces that are hashed
	verifier digest.Verifier
	hashed   int // pieces
}

func newPartial(d digest.Digest, t *Table, sure bool, file File, grown func(int64)) *partial {
	return &partial{
		digest: d, table: t, sure: sure, file: file, grown: grown,
		have: newBitmap(t.pieces()), missing: t.pieces(), changed: make(chan struct{}), verifier: d.Verifier(),
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
	if sha256.Sum256(data) != p.table.Sums[i] {
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

// advance hashes what has come together at the start of the blob, and says so. It
// holds back the last bytes until the digest is right. data are those of the piece
// that was put last, which need not be read again if it is the next.
func (p *partial) advance(last int, data []byte) error {
	p.order.Lock()
	defer p.order.Unlock()
	for p.hashed < p.table.pieces() && p.has(p.hashed) {
		off, n := p.table.span(p.hashed)
		var next io.Reader = io.NewSectionReader(p.file, off, n)
		if p.hashed == last {
			next = bytes.NewReader(data)
		}
		if _, err := io.Copy(p.verifier, next); err != nil {
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		p.hashed++
		whole := p.hashed == p.table.pieces()
		if whole && !p.verifier.Verified() {
			return ErrDigest
		}
		if whole || p.sure {
			p.grown(off + n)
		}
	}
	return nil
}
