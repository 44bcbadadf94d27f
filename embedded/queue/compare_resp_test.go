package queue

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// respValue is one reply, of RESP2 or RESP3.
type respValue struct {
	kind  byte        // the type's first byte
	text  string      // of a scalar
	null  bool        // $-1, *-1 or _
	items []respValue // of an aggregate; keys and values in turn for a map
	raw   string      // as it came
}

func (v respValue) isError() bool { return v.kind == '-' || v.kind == '!' }

// texts returns what the items say, aggregates among them flattened.
func (v respValue) texts() []string {
	var out []string
	for _, item := range v.items {
		if item.items != nil {
			out = append(out, item.texts()...)
		} else {
			out = append(out, item.text)
		}
	}
	return out
}

// has reports whether one of the items says text.
func (v respValue) has(text string) bool { return slices.Contains(v.texts(), text) }

// respReader parses replies and keeps their bytes.
type respReader struct{ in *bufio.Reader }

func (r respReader) read() (respValue, error) {
	line, err := r.in.ReadString('\n')
	if err != nil {
		return respValue{raw: line}, err
	}
	v := respValue{kind: line[0], text: strings.TrimSuffix(line[1:], "\r\n"), raw: line}
	switch v.kind {
	case '+', '-', ':', ',', '#', '(':
		return v, nil
	case '_':
		v.null = true
		return v, nil
	case '$', '=', '!':
		return v, r.blob(&v)
	case '*', '~', '>', '%', '|':
		return v, r.aggregate(&v)
	}
	return v, fmt.Errorf("no reply begins like %q", line)
}

func (r respReader) blob(v *respValue) error {
	n, err := strconv.Atoi(v.text)
	if n < 0 || err != nil {
		v.null = true
		return err
	}
	data := make([]byte, n+2)
	_, err = io.ReadFull(r.in, data)
	v.text = string(data[:n])
	if v.kind == '=' {
		_, v.text, _ = strings.Cut(v.text, ":") // what format it has, such as txt
	}
	v.raw += string(data)
	return err
}

func (r respReader) aggregate(v *respValue) error {
	n, err := strconv.Atoi(v.text)
	if n < 0 || err != nil {
		v.null = true
		return err
	}
	if v.kind == '%' || v.kind == '|' {
		n *= 2
	}
	v.text, v.items = "", make([]respValue, n)
	var raw strings.Builder
	raw.WriteString(v.raw)
	for i := range v.items {
		if v.items[i], err = r.read(); err != nil {
			return err
		}
		raw.WriteString(v.items[i].raw)
	}
	v.raw = raw.String()
	return nil
}

// respRequest returns a command as clients send it.
func respRequest(args ...string) []byte { return appendRequest(nil, args...) }

func appendRequest(b []byte, args ...string) []byte {
	b = append(strconv.AppendInt(append(b, '*'), int64(len(args)), 10), "\r\n"...)
	for _, arg := range args {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(arg)), 10), "\r\n"...)
		b = append(append(b, arg...), "\r\n"...)
	}
	return b
}
