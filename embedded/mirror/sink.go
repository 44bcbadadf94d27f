package mirror

import (
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// sink brings a download into the cache. It implements exchange.Sink.
type sink struct {
	d     *download
	cache *cache.Cache
	file  *os.File // nil: not made, or kept
}

// Make implements exchange.Sink.
func (s *sink) Make(size int64) (cut.File, error) {
	d := s.d
	if !s.cache.Reserve(size) {
		d.update(func() { d.size = size })
		return nil, errNotKept
	}
	file, err := s.cache.Create()
	if err != nil {
		s.cache.Unreserve(size)
		d.update(func() { d.size = size })
		return nil, fmt.Errorf("%w: %w", errNotKept, err)
	}
	s.file = file
	d.update(func() { d.file, d.size = file, size })
	return growing{file}, nil
}

// Grown implements exchange.Sink.
func (s *sink) Grown(readable int64) { s.d.grown(readable) }

// Keep implements exchange.Sink.
func (s *sink) Keep() error {
	kept, err := s.cache.Commit(s.file, s.d.key, s.d.size)
	if err != nil {
		return fmt.Errorf("keep: %w: %w", errNotKept, err)
	}
	s.file = nil
	s.d.update(func() { s.d.kept = kept })
	return nil
}

// made reports whether there is a file, which a failed download leaves behind.
func (s *sink) made() bool { return s.file != nil }

// undo takes back what Make made, if it is not kept.
func (s *sink) undo() {
	if s.file == nil {
		return
	}
	_ = os.Remove(s.file.Name())
	s.cache.Unreserve(s.d.size)
}

// growing is the file of a download, for the exchange.
type growing struct{ *os.File }

// Open implements cut.File.
func (g growing) Open() (cut.ReadAtCloser, error) { return os.Open(g.Name()) }

// held is a kept blob, for the exchange.
type held struct {
	*os.File
	cache *cache.Cache
	entry *cache.Entry
}

func (h held) Size() int64 { return h.entry.Size }

func (h held) Close() error {
	h.cache.Release(h.entry)
	return h.File.Close()
}

// stored is the cache, for the exchange.
type stored struct {
	cache *cache.Cache
	more  exchange.Store // what is here besides; nil: nothing is
}

// Open implements exchange.Store.
func (s stored) Open(d digest.Digest) (exchange.Blob, bool) {
	if f, ent, ok := s.cache.Open(cache.Blob(d)); ok {
		return held{f, s.cache, ent}, true
	}
	if s.more == nil {
		return nil, false
	}
	return s.more.Open(d)
}
