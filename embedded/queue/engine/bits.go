package engine

import (
	"math/bits"
	"slices"
)

func init() {
	register("BITCOUNT", -2, reads, bitCount)
	register("BITOP", -4, grows, bitOp)
	register("BITPOS", -3, reads, bitPos)
	register("GETBIT", 3, reads, getBit)
	register("SETBIT", 4, grows, setBit)
}

func (t text) byteAt(i int) byte {
	if t.b != nil {
		return t.b[i]
	}
	return t.s[i]
}

func (c *Context) bitOffset(arg string) int {
	return c.bounded(arg, 0, maxString*8-1, "ERR bit offset is not an integer or out of range")
}

func setBit(c *Context) {
	offset := c.bitOffset(c.args[2])
	bit := c.bounded(c.args[3], 0, 1, "ERR bit is not an integer or out of range")
	t, _ := c.text(c.args[1])
	at, mask := offset/8, byte(0x80)>>(offset%8)
	old := at < t.len() && t.byteAt(at)&mask != 0
	if at < t.len() && old == (bit == 1) {
		c.Out.Flag(old)
		return
	}
	b := c.blob(c.args[1], at+1)
	if old != (bit == 1) {
		b[at] ^= mask
	}
	c.touch(c.args[1])
	c.Out.Flag(old)
}

func getBit(c *Context) {
	offset := c.bitOffset(c.args[2])
	t, _ := c.text(c.args[1])
	c.Out.Flag(offset/8 < t.len() && t.byteAt(offset/8)&(0x80>>(offset%8)) != 0)
}

// bitRange reads [start [end [BYTE|BIT]]] as the first and the last bit of a
// string of n bytes; none when first is behind last, which for negative ones is
// looked at before they are bounded if they are to be in order.
func (c *Context) bitRange(args []string, n int, ordered bool) (first, last int64) {
	last = -1
	unit := int64(8)
	if len(args) > 0 {
		first = c.integer(args[0])
	}
	if len(args) > 1 {
		last = c.integer(args[1])
	}
	if ordered && first < 0 && last < 0 && first > last {
		return 0, -1
	}
	if len(args) == 3 {
		switch {
		case is(args[2], "BIT"):
			unit = 1
		case !is(args[2], "BYTE"):
			c.fail(ErrSyntax)
		}
	}
	size := int64(n) * 8 / unit
	if first < 0 {
		first = max(0, first+size)
	}
	if last < 0 {
		last = max(0, last+size)
	}
	if last = min(last, size-1); first > last {
		return 0, -1
	}
	return first * unit, last*unit + unit - 1
}

func bitCount(c *Context) {
	t, found := c.text(c.args[1])
	if !found {
		c.Out.Int(0)
		return
	}
	if n := len(c.args); n == 3 || n > 5 {
		c.fail(ErrSyntax)
	}
	first, last := c.bitRange(c.args[2:], t.len(), true)
	n := 0
	if first <= last {
		for i := first / 8; i <= last/8; i++ {
			b := t.byteAt(int(i))
			if i == first/8 {
				b &= 0xff >> (first % 8)
			}
			if i == last/8 {
				b &= 0xff << (7 - last%8)
			}
			n += bits.OnesCount8(b)
		}
	}
	c.Out.Int(n)
}

func bitPos(c *Context) {
	bit := c.integer(c.args[2])
	if bit != 0 && bit != 1 {
		c.fail("ERR The bit argument must be 1 or 0.")
	}
	t, found := c.text(c.args[1])
	if !found {
		c.Out.Int64(-bit)
		return
	}
	if len(c.args) > 6 {
		c.fail(ErrSyntax)
	}
	first, last := c.bitRange(c.args[3:], t.len(), false)
	c.Out.Int64(firstBit(t, first, last, bit, len(c.args) < 5))
}

// firstBit finds a bit between first and last. Zeros follow a string to no end,
// unless the end was given.
func firstBit(t text, first, last, bit int64, open bool) int64 {
	skip := byte(0xff) * byte(1-bit)
	for i := first; i <= last; i++ {
		b := t.byteAt(int(i / 8))
		if i%8 == 0 && i+7 <= last && b == skip {
			i += 7
			continue
		}
		if int64(b>>(7-i%8)&1) == bit {
			return i
		}
	}
	if bit == 0 && open && first <= last {
		return int64(t.len()) * 8
	}
	return -1
}

func bitOp(c *Context) {
	op := slices.IndexFunc([]string{"AND", "OR", "XOR", "NOT"}, func(s string) bool { return is(c.args[1], s) })
	if op < 0 {
		c.fail(ErrSyntax)
	}
	if op == 3 && len(c.args) != 4 {
		c.fail("ERR BITOP NOT must be called with a single source key.")
	}
	var sources []text
	longest := 0
	for _, key := range c.args[3:] {
		t, _ := c.text(key)
		sources = append(sources, t)
		longest = max(longest, t.len())
	}
	c.checkRoom(int64(longest))
	target := c.args[2]
	if longest == 0 {
		if c.e.remove(c.db, target) {
			c.touch(target, "del")
		}
		c.Out.Int(0)
		return
	}
	c.e.put(c.db, target, c.e.newBlob(combine(op, sources, longest)))
	c.touch(target)
	c.Out.Int(longest)
}

func combine(op int, sources []text, longest int) []byte {
	out := make([]byte, longest)
	sources[0].copyTo(out, 0)
	if op == 3 {
		for i := range out {
			out[i] = ^out[i]
		}
	}
	var piece [4 << 10]byte
	for _, src := range sources[1:] {
		for from := 0; from < longest; from += len(piece) {
			into := out[from:min(longest, from+len(piece))]
			n := src.copyTo(piece[:], from)
			clear(piece[n:]) // zeros follow a shorter string
			for i := range into {
				switch op {
				case 0:
					into[i] &= piece[i]
				case 1:
					into[i] |= piece[i]
				case 2:
					into[i] ^= piece[i]
				}
			}
		}
	}
	return out
}

// copyTo copies the string from one place on and returns how many bytes that are.
func (t text) copyTo(out []byte, from int) int {
	if from >= t.len() {
		return 0
	}
	return copy(out, t.s[min(from, len(t.s)):]) + copy(out, t.b[min(from, len(t.b)):])
}
