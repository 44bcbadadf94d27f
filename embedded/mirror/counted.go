package mirror

import (
	"io"
	"net/http"
)

// counted is an answer whose bytes are counted as they go.
type counted struct {
	http.ResponseWriter
	add func(bytes int64)
}

// Unwrap implements what http.ResponseController looks for.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.add(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom, by which the kernel sends a file itself.
func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.add(n)
	return n, err
}

func (m *Mirror) fromCache(bytes int64) { m.count(func(s *Stats) { s.FromCache += bytes }) }
