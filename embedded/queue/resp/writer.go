package resp

import (
	"math"
	"strconv"
	"strings"
)

// Writer encodes replies. The zero value speaks RESP2.
type Writer struct {
	Buf   []byte
	V3    bool // RESP3
	Limit int  // bytes of Buf beyond which nothing more is written; 0: none
	Over  bool // something was not written
}

// full reports whether nothing more is written.
func (w *Writer) full() bool {
	w.Over = w.Over || w.Limit > 0 && len(w.Buf) > w.Limit
	return w.Over
}

func (w *Writer) line(kind byte, s string) {
	if w.full() {
		return
	}
	w.Buf = append(append(append(w.Buf, kind), s...), '\r', '\n')
}

func (w *Writer) number(kind byte, n int64) {
	if w.full() {
		return
	}
	w.Buf = append(strconv.AppendInt(append(w.Buf, kind), n, 10), '\r', '\n')
}

// Status writes a simple string.
func (w *Writer) Status(s string) { w.line('+', s) }

// OK writes the status OK.
func (w *Writer) OK() { w.Status("OK") }

// Error writes an error; msg begins with its code, such as ERR.
func (w *Writer) Error(msg string) {
	if strings.ContainsAny(msg, "\r\n") {
		msg = strings.NewReplacer("\r", " ", "\n", " ").Replace(msg)
	}
	w.line('-', msg)
}

// Int writes an integer.
func (w *Writer) Int(n int) { w.number(':', int64(n)) }

// Int64 writes an integer.
func (w *Writer) Int64(n int64) { w.number(':', n) }

// Flag writes 1 for true and 0 for false.
func (w *Writer) Flag(b bool) {
	if b {
		w.Int(1)
		return
	}
	w.Int(0)
}

// Bulk writes a string of bytes.
func (w *Writer) Bulk(s string) {
	if w.number('$', int64(len(s))); w.Over {
		return
	}
	w.Buf = append(append(w.Buf, s...), '\r', '\n')
}

// Bytes writes a string of bytes.
func (w *Writer) Bytes(b []byte) {
	if w.number('$', int64(len(b))); w.Over {
		return
	}
	w.Buf = append(append(w.Buf, b...), '\r', '\n')
}

// Verbatim writes a text: a verbatim string in RESP3.
func (w *Writer) Verbatim(s string) {
	if !w.V3 {
		w.Bulk(s)
		return
	}
	if w.number('=', int64(len(s)+4)); w.Over {
		return
	}
	w.Buf = append(append(append(w.Buf, "txt:"...), s...), '\r', '\n')
}

// Double writes a floating-point number as Redis 7.0 does.
func (w *Writer) Double(f float64) {
	s := FormatDouble(f)
	if w.V3 {
		w.line(',', s)
		return
	}
	w.Bulk(s)
}

// FormatDouble writes f with 17 significant digits, and inf for infinity.
func FormatDouble(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

func (w *Writer) Null() { w.null('$') }

func (w *Writer) NullArray() { w.null('*') }

func (w *Writer) null(kind byte) {
	if w.V3 {
		w.line('_', "")
		return
	}
	w.line(kind, "-1")
}

// Array begins an array of n elements.
func (w *Writer) Array(n int) { w.number('*', int64(n)) }

// Map begins a map of n pairs: in RESP2 an array of twice as many elements.
func (w *Writer) Map(n int) {
	if w.V3 {
		w.number('%', int64(n))
		return
	}
	w.Array(2 * n)
}

// Set begins a set of n elements: in RESP2 an array.
func (w *Writer) Set(n int) { w.typed('~', n) }

// Push begins a message of n elements that is no reply: in RESP2 an array.
func (w *Writer) Push(n int) { w.typed('>', n) }

func (w *Writer) typed(kind byte, n int) {
	if !w.V3 {
		kind = '*'
	}
	w.number(kind, int64(n))
}

// Bulks writes an array of strings.
func (w *Writer) Bulks(items []string) {
	w.Array(len(items))
	for _, item := range items {
		w.Bulk(item)
	}
}

// Pairs writes pairs of strings, of a map that has begun.
func (w *Writer) Pairs(pairs [][2]string) {
	for _, pair := range pairs {
		w.Bulk(pair[0])
		w.Bulk(pair[1])
	}
}
