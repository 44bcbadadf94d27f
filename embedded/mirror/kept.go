package mirror

import (
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Kept serves to other nodes what is on disk, by its digest, and asks nobody for
// the rest. They come here while they cannot reach the manager.
func (m *Mirror) Kept() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			writeError(w, http.StatusForbidden, "DENIED", "this node's registry is read-only")
			return
		}
		if f := blobPath.FindStringSubmatch(req.URL.Path); f != nil {
			if d, err := digest.Parse(f[2]); err == nil && m.serveKept(w, req, key{blobs, d}) {
				return
			}
		} else if f := manifestPath.FindStringSubmatch(req.URL.Path); f != nil {
			if d, err := digest.Parse(f[2]); err == nil {
				if mf, ok := m.cache.manifest(d); ok {
					writeManifest(&counted{ResponseWriter: w, add: m.fromCache}, req, mf, d)
					return
				}
			}
		}
		writeError(w, http.StatusNotFound, "BLOB_UNKNOWN", "this node does not have it")
	})
}
