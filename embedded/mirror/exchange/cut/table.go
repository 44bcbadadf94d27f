// Package cut cuts a blob into pieces that can be checked one by one, and holds one
// that comes in piece by piece in any order.
//
// A piece is checked by the state of SHA-256 before it and after it, so that a table
// of pieces needs no trust beyond the blob's own digest: see chain.
package cut

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

const (
	// MinSize is the size from which a blob is cut; a smaller one is fetched whole,
	// which costs less than asking who has it.
	MinSize = 256 << 10
	// MaxPieces bounds a table that another node sends.
	MaxPieces = 1 << 16
)

// PieceSize returns the size of the pieces of a blob: small enough that a piece is soon
// passed on, large enough that a large blob has few.
func PieceSize(size int64) int64 {
	switch {
	case size <= 256<<20:
		return 1 << 20
	case size <= 1<<30:
		return 2 << 20
	default:
		return 4 << 20
	}
}

// Table is how a blob is cut, and what its pieces are checked with.
type Table struct {
	Size   int64   // of the blob, in bytes
	Piece  int64   // size of all pieces but the last, in bytes
	chains []chain // after each piece but the last, after which there is the digest
}

// Make reads a blob of the size given. It fails if that is another one.
func Make(d digest.Digest, r io.Reader, size, piece int64) (*Table, error) {
	t := &Table{Size: size, Piece: piece}
	h := sha256.New()
	for left := size; left > 0; left -= t.Piece {
		if _, err := io.CopyN(h, r, min(left, t.Piece)); err != nil {
			return nil, fmt.Errorf("cut a blob: %w", err)
		}
		if left > t.Piece {
			t.chains = append(t.chains, chainOf(h))
		}
	}
	if digest.NewDigest(digest.SHA256, h) != d {
		return nil, fmt.Errorf("cut a blob: the content does not match %s", d)
	}
	return t, nil
}

// check reports whether data are piece i of the blob with the digest given, if those
// before it are.
func (t *Table) check(d digest.Digest, i int, data []byte) bool {
	h := sha256.New()
	if i > 0 {
		offset, _ := t.Span(i)
		h = t.chains[i-1].resume(offset)
	}
	_, _ = h.Write(data) // never fails
	if i < len(t.chains) {
		return chainOf(h) == t.chains[i]
	}
	return digest.NewDigest(digest.SHA256, h) == d
}

func (t *Table) Pieces() int { return len(t.chains) + 1 }

// Span returns where a piece lies, in bytes.
func (t *Table) Span(i int) (offset, length int64) {
	offset = int64(i) * t.Piece
	return offset, min(t.Piece, t.Size-offset)
}

// Encode gives size and piece size, 8 bytes each and big-endian, then the chains.
func (t *Table) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Piece))
	for _, c := range t.chains {
		b = append(b, c[:]...)
	}
	return b
}

var ErrTable = errors.New("not a table of pieces")

// Decode reads what Encode gave. It returns ErrTable for anything else.
func Decode(b []byte) (*Table, error) {
	if len(b) < 16 || (len(b)-16)%sha256.Size != 0 {
		return nil, ErrTable
	}
	t := &Table{Size: int64(binary.BigEndian.Uint64(b)), Piece: int64(binary.BigEndian.Uint64(b[8:]))}
	n := int64(len(b)-16)/sha256.Size + 1
	if t.Size <= 0 || t.Piece != PieceSize(t.Size) || (t.Size-1)/t.Piece+1 != n || n > MaxPieces {
		return nil, ErrTable
	}
	for b = b[16:]; len(b) > 0; b = b[sha256.Size:] {
		t.chains = append(t.chains, chain(b))
	}
	return t, nil
}
