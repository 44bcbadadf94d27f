package bound

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

var ErrTooLong = errors.New("it is longer than it may be")

// ReadAll reads to the end. The error is ErrTooLong after most bytes.
func ReadAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = ErrTooLong
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// JSON reads one JSON value, and nothing after it but white space. The error is
// ErrTooLong after most bytes.
func JSON(r io.Reader, most int64, into any) error {
	data, err := ReadAll(r, most)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// List reads a JSON array of most elements at the most; null is an empty one. Of more the error is ErrTooLong, before
// they take memory: an element of two bytes may become one of hundreds.
func List[T any](data []byte, most int) (list []T, err error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		return nil, cmp.Or(err, errors.New("it is no list"))
	}
	for dec.More() {
		if len(list) == most {
			return nil, ErrTooLong
		}
		var one T
		if err := dec.Decode(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	_, err = dec.Token()
	return list, err
}

// Strict is JSON, and refuses fields that the value does not have.
func Strict(r io.Reader, most int64, into any) error {
	data, err := ReadAll(r, most)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// Stream reads a stream of JSON values, one a line. It may be read from one goroutine at
// a time.
type Stream struct{ lines *bufio.Scanner }

// NewStream reads lines of most bytes each from r, and any number of them: the reader
// bounds how long it takes.
func NewStream(r io.Reader, most int) *Stream {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, min(most, 4<<10)), most)
	return &Stream{lines}
}

// Next reads the next value. The error is io.EOF at the end, and ErrTooLong for a line
// that is too long.
func (s *Stream) Next(into any) error {
	if s.lines.Scan() {
		return json.Unmarshal(s.lines.Bytes(), into)
	}
	err := s.lines.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return ErrTooLong
	case err != nil:
		return fmt.Errorf("read the stream: %w", err)
	}
	return io.EOF
}
