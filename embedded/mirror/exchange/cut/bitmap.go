package cut

import "math/bits"

// Bitmap says of each piece of a blob whether it is there.
type Bitmap []byte

func NewBitmap(pieces int) Bitmap { return make(Bitmap, (pieces+7)/8) }

func Full(pieces int) Bitmap {
	b := NewBitmap(pieces)
	for i := range pieces {
		b.Set(i)
	}
	return b
}

// Has is false for pieces that the blob does not have.
func (b Bitmap) Has(i int) bool { return i >= 0 && i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

func (b Bitmap) Set(i int) { b[i/8] |= 1 << (i % 8) }

func (b Bitmap) Unset(i int) { b[i/8] &^= 1 << (i % 8) }

func (b Bitmap) Count() (n int) {
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

func (b Bitmap) Clone() Bitmap { return append(Bitmap(nil), b...) }
