package registry

import (
	"os"

	"github.com/opencontainers/go-digest"
)

// Blob is an open blob, to be read here and there.
type Blob struct {
	*os.File
	size int64
}

// Size returns the size of the blob, in bytes.
func (b *Blob) Size() int64 { return b.size }

// OpenBlob opens the blob of a digest, in whatever repository it is. A collection
// may remove it meanwhile; what was opened can still be read.
func (r *Registry) OpenBlob(d digest.Digest) (*Blob, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	f, err := os.Open(r.layout.BlobFile(d))
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Blob{f, fi.Size()}, nil
}
