package gossip

import (
	"encoding/binary"
	"errors"
)

// memberlist panics over two forms of a message that only a node with the key can
// make, and nodes do not send: version 0 of the cipher with a false padding, and
// an empty one on a stream. They are kept from it, or one node with an evil
// owner could end all others.
const (
	encryptedStream  = 10 // first byte; a length and the message follow
	paddedCipher     = 0  // first byte of a message
	cipherOverhead   = 29 // version, nonce and tag: the length of an empty message
	streamHeaderSize = 6  // up to the first byte of the message
)

var errForm = errors.New("message has a form that nodes do not use")

func checkPacket(packet []byte) error {
	if len(packet) == 0 || packet[0] == paddedCipher {
		return errForm
	}
	return nil
}

func checkStreamHeader(head []byte) error {
	if head[0] != encryptedStream {
		return nil // memberlist refuses it
	}
	if head[5] == paddedCipher || binary.BigEndian.Uint32(head[1:]) <= cipherOverhead {
		return errForm
	}
	return nil
}
