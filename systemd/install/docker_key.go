package install

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// dockerFingerprint is the fingerprint of the key by which Docker signs its packages for Debian
// and Ubuntu, as its instructions for them have it.
const dockerFingerprint = "9dc858229fc7dd38854ae2d88d81803c0ebfcd88"

// fingerprint returns the one of the first key in an armoured OpenPGP file, empty where there
// is none: the SHA-1 of its packet as RFC 4880, 12.2, says for keys of version 4. A library
// that parses all packets, such as go-crypto/openpgp/packet, makes the program 1.5 MB larger.
func fingerprint(armoured string) string {
	packet := dearmour(armoured)
	if len(packet) < 3 {
		return ""
	}
	var body []byte
	switch tag := packet[0]; {
	case tag == 0x99: // a public key, two octets of length follow
		body = packet[3:]
		if n := int(binary.BigEndian.Uint16(packet[1:3])); n <= len(body) {
			body = body[:n]
		}
	case tag == 0xc6 && packet[1] >= 192 && packet[1] < 224: // the same, in the newer format
		n := (int(packet[1])-192)<<8 + int(packet[2]) + 192
		body = packet[3:]
		if n <= len(body) {
			body = body[:n]
		}
	default:
		return ""
	}
	if len(body) == 0 || body[0] != 4 {
		return ""
	}
	h := sha1.New() // the standard has no other for these keys
	h.Write([]byte{0x99, byte(len(body) >> 8), byte(len(body))})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// dearmour returns what an armoured public key holds, nil where the text is none.
func dearmour(text string) []byte {
	block, err := armor.Decode(strings.NewReader(text))
	if err != nil || block.Type != "PGP PUBLIC KEY BLOCK" {
		return nil
	}
	packet, err := bound.ReadAll(block.Body, int64(len(text)))
	if err != nil {
		return nil
	}
	return packet
}
