package logstore

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// A file is blocks, each of which can be read without the others: a head, and lines or what is known of their task,
// compressed. What was cut off while it was written has a wrong length or checksum, and counts for nothing.

const (
	headLen = 72
	magic   = "CBL1"

	kindTask  = 't'
	kindLines = 'l'

	// blockLen is the length of lines, in bytes, with which a block is written.
	blockLen = 64 << 10
	// maxRaw is the most that a block may have: a line may come to one that is nearly full.
	maxRaw = blockLen + tasklog.MaxLine + 1<<10
	// maxTask bounds what is written of a task.
	maxTask = 4 << 10
	// maxPacked is how long a block may be that does not become shorter.
	maxPacked = maxRaw + maxRaw/8 + 64
	// maxLines bounds the lines of a block: each has three bytes at the least.
	maxLines = maxRaw / 3
)

// head is what stands before a block.
type head struct {
	kind   byte
	errors bool // lines of it tell of errors
	packed int  // bytes, compressed
	raw    int  // bytes
	lines  int
	first  time.Time // of its lines
	last   time.Time
	after  tasklog.Position // in Docker's log
	sum    uint32           // of the compressed bytes
}

// errDamaged is of a block that can't be read.
var errDamaged = errors.New("damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h head) encode() []byte {
	b := make([]byte, 0, headLen)
	b = append(b, magic...)
	flags := byte(0)
	if h.errors {
		flags = 1
	}
	b = append(b, h.kind, flags, 0, 0)
	for _, n := range []int{h.packed, h.raw, h.lines, h.after.Out, h.after.Err, h.after.Same} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(n, 1<<32-1)))
	}
	for _, t := range []time.Time{h.first, h.last, h.after.Latest, h.after.Last} {
		b = binary.BigEndian.AppendUint64(b, uint64(nanoseconds(t)))
	}
	b = binary.BigEndian.AppendUint32(b, h.sum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHead(b []byte) (h head, err error) {
	sum := len(b) - 4
	if len(b) != headLen || string(b[:4]) != magic ||
		crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return h, errDamaged
	}
	number := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
	at := func(at int) time.Time { return moment(int64(binary.BigEndian.Uint64(b[at:]))) }
	h = head{
		kind:   b[4],
		errors: b[5] == 1,
		packed: number(8),
		raw:    number(12),
		lines:  number(16),
		first:  at(32),
		last:   at(40),
		after:  tasklog.Position{Out: number(20), Err: number(24), Same: number(28), Latest: at(48), Last: at(56)},
		sum:    binary.BigEndian.Uint32(b[64:]),
	}
	if h.packed > maxPacked || h.raw > maxRaw || h.lines > maxLines {
		return h, errDamaged
	}
	return h, nil
}

// nanoseconds and moment keep the zero time as 0.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// packer compresses. It is for one goroutine at a time.
type packer struct{ out bytes.Buffer }

// writers are lent for one block each: one has 0.6 MB, and a node has hundreds of logs that are seldom written.
var writers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // the level is right
	return w
}}

// pack returns a block; it is valid until the next.
func (p *packer) pack(h head, raw []byte) []byte {
	p.out.Reset()
	p.out.Write(make([]byte, headLen))
	w := writers.Get().(*flate.Writer)
	w.Reset(&p.out)
	_, _ = w.Write(raw) // into memory
	_ = w.Close()
	w.Reset(io.Discard) // it keeps nothing of p
	writers.Put(w)
	block := p.out.Bytes()
	h.raw, h.packed = len(raw), len(block)-headLen
	h.sum = crc32.Checksum(block[headLen:], castagnoli)
	copy(block, h.encode())
	return block
}

// packTask returns the block that says what is known of a task.
func (p *packer) packTask(t Task) ([]byte, error) {
	text, err := json.Marshal(t)
	if err == nil && len(text) > maxTask {
		err = fmt.Errorf("too long: %d bytes", len(text))
	}
	return p.pack(head{kind: kindTask}, text), err
}

// readHead reads the head of the block at an offset of a file that has so many bytes.
func readHead(f io.ReaderAt, at, size int64) (h head, err error) {
	if at < 0 || size-at < headLen {
		return h, errDamaged
	}
	var b [headLen]byte
	if _, err = f.ReadAt(b[:], at); err != nil {
		return h, err
	}
	if h, err = decodeHead(b[:]); err == nil && at+headLen+int64(h.packed) > size {
		err = errDamaged
	}
	return h, err
}

// readRaw reads what a block holds.
func readRaw(f io.ReaderAt, at int64, h head) ([]byte, error) {
	packed := make([]byte, h.packed)
	if _, err := f.ReadAt(packed, at+headLen); err != nil {
		return nil, err
	}
	if crc32.Checksum(packed, castagnoli) != h.sum {
		return nil, errDamaged
	}
	raw := make([]byte, h.raw)
	in := flate.NewReader(bytes.NewReader(packed))
	if _, err := io.ReadFull(in, raw); err != nil {
		return nil, errDamaged
	}
	return raw, nil
}

func readTask(f io.ReaderAt, at int64, h head) (t Task, err error) {
	if h.kind != kindTask || h.raw > maxTask {
		return t, errDamaged
	}
	raw, err := readRaw(f, at, h)
	if err == nil && json.Unmarshal(raw, &t) != nil {
		err = errDamaged
	}
	return t, err
}

// lines is a block that is being filled.
type lines struct {
	head
	raw []byte
}

var streams = []string{tasklog.Stdout, tasklog.Stderr, Word}

const cutFlag = 1 << 7

func (b *lines) add(line tasklog.Line, after tasklog.Position) {
	if b.lines == 0 {
		b.kind, b.first, b.last = kindLines, line.Time, line.Time
	}
	flags := byte(0)
	for i, stream := range streams {
		if line.Stream == stream {
			flags = byte(i)
		}
	}
	if line.Cut {
		flags |= cutFlag
	}
	b.raw = binary.AppendVarint(b.raw, int64(line.Time.Sub(b.first)))
	b.raw = append(b.raw, flags)
	b.raw = binary.AppendUvarint(b.raw, uint64(len(line.Text)))
	b.raw = append(b.raw, line.Text...)
	b.lines++
	if line.Time.After(b.last) {
		b.last = line.Time
	}
	b.errors, b.after = b.errors || IsError(line.Text), after
}

// each calls fn with the lines of a block, and their numbers in it.
func each(first time.Time, raw []byte, fn func(i int, line tasklog.Line) error) error {
	for i := 0; len(raw) > 0; i++ {
		since, n := binary.Varint(raw)
		if n <= 0 || len(raw) == n {
			return errDamaged
		}
		flags := raw[n]
		raw = raw[n+1:]
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) || int(flags&^cutFlag) >= len(streams) {
			return errDamaged
		}
		line := tasklog.Line{
			Time:   first.Add(time.Duration(since)),
			Stream: streams[flags&^cutFlag],
			Text:   string(raw[n : n+int(size)]),
			Cut:    flags&cutFlag != 0,
		}
		raw = raw[n+int(size):]
		if err := fn(i, line); err != nil {
			return err
		}
	}
	return nil
}
