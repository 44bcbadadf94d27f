package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Command is one command with its arguments; Args[0] is its name.
type Command struct {
	DB   int
	Args []string
}

const (
	magic      = "crawlbox queue 1\n"
	headerSize = 12
	maxRecord  = 1<<31 - 1
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errPayload = errors.New("payload is malformed")
)

// appendRecord appends batch as one record. An empty batch is the mark at the
// end of a snapshot.
func appendRecord(dst []byte, batch []Command) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	dst = appendPayload(dst, batch)

	payload := dst[start+headerSize:]
	if len(payload) > maxRecord {
		return dst[:start], fmt.Errorf("record of %d bytes is larger than %d", len(payload), maxRecord)
	}
	header := dst[start : start+headerSize]
	binary.LittleEndian.PutUint32(header[0:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(header[4:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(header[8:], crc32.Checksum(header[:8], castagnoli))
	return dst, nil
}

func appendPayload(dst []byte, batch []Command) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(batch)))
	for _, cmd := range batch {
		dst = binary.AppendUvarint(dst, uint64(cmd.DB))
		dst = binary.AppendUvarint(dst, uint64(len(cmd.Args)))
		for _, arg := range cmd.Args {
			dst = binary.AppendUvarint(dst, uint64(len(arg)))
			dst = append(dst, arg...)
		}
	}
	return dst
}

// payload holds what is left to decode of a record.
type payload []byte

func decodePayload(p payload) ([]Command, error) {
	n, err := p.count()
	if err != nil {
		return nil, err
	}
	batch := make([]Command, 0, n)
	for range n {
		cmd, err := p.command()
		if err != nil {
			return nil, err
		}
		batch = append(batch, cmd)
	}
	if len(p) > 0 {
		return nil, errPayload
	}
	return batch, nil
}

func (p *payload) command() (Command, error) {
	db, err := p.uvarint()
	if err != nil || db > 1<<16 {
		return Command{}, errPayload
	}
	n, err := p.count()
	if err != nil || n == 0 {
		return Command{}, errPayload
	}
	cmd := Command{DB: int(db), Args: make([]string, n)}
	for i := range cmd.Args {
		size, err := p.count()
		if err != nil {
			return Command{}, err
		}
		cmd.Args[i] = string((*p)[:size])
		*p = (*p)[size:]
	}
	return cmd, nil
}

// count reads a number of things that take at least a byte each, so that
// nonsense cannot ask for more memory than the record itself has.
func (p *payload) count() (int, error) {
	n, err := p.uvarint()
	if err != nil || n > uint64(len(*p)) {
		return 0, errPayload
	}
	return int(n), nil
}

func (p *payload) uvarint() (uint64, error) {
	n, size := binary.Uvarint(*p)
	if size <= 0 {
		return 0, errPayload
	}
	*p = (*p)[size:]
	return n, nil
}
