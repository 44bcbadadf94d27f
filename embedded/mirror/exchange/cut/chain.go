package cut

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
)

// chain is the state that SHA-256 goes on from after a whole number of its blocks. The one after
// a piece is both that piece's checksum and where the next piece begins: pieces that
// lead from one to the other, in whatever order they were checked, lead to the digest.
type chain [sha256.Size]byte

// How crypto/sha256 writes a hash down: its name, the chain, the input that does not
// fill a block yet, and the length of the input in bytes. Package hash promises that
// this stays readable.
const (
	hashName = "sha\x03"
	hashRest = sha256.BlockSize
)

// chainOf returns the chain of a SHA-256 that has got whole blocks.
func chainOf(h hash.Hash) chain {
	b, _ := h.(encoding.BinaryMarshaler).MarshalBinary() // never fails
	return chain(b[len(hashName):])
}

// resume returns the SHA-256 that has this chain after length bytes, a multiple of its
// block size.
func (c chain) resume(length int64) hash.Hash {
	b := make([]byte, 0, len(hashName)+len(c)+hashRest+8)
	b = append(append(b, hashName...), c[:]...)
	b = binary.BigEndian.AppendUint64(b[:len(b)+hashRest], uint64(length))
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		panic(fmt.Sprintf("exchange: %v", err)) // crypto/sha256 has broken its promise
	}
	return h
}
