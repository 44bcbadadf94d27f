package exchange

import "math/bits"

// Bitmap says of each piece of a blob whether it is there.
type Bitmap []byte

func newBitmap(pieces int) Bitmap { return make(Bitmap, (pieces+7)/8) }

// fullBitmap has all pieces.
func fullBitmap(pieces int) Bitmap {
	b := newBitmap(pieces)
	for i := range pieces {
		b.set(i)
	}
	return b
}

// Has is false for pieces that the blob does not have.
func (b Bitmap) Has(i int) bool { return i >= 0 && i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

func (b Bitmap) set(i int) { b[i/8] |= 1 << (i % 8) }

func (b Bitmap) unset(i int) { b[i/8] &^= 1 << (i % 8) }

func (b Bitmap) count() (n int) {
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

func (b Bitmap) clone() Bitmap { return append(Bitmap(nil), b...) }
