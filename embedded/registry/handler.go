package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/reference"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
	"github.com/crawlbox/crawlbox/embedded/registry/storage"
)

// maxManifest is distribution's own limit for the body of a manifest PUT.
const maxManifest = 4 << 20

var (
	manifestPath = regexp.MustCompile(`^/v2/.+/manifests/[^/]+$`)
	uploadPath   = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/([0-9a-f-]{36})$`)
)

// ReadOnly lets only GET and HEAD through to h; all else gets the registry
// API's error DENIED.
func ReadOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet || req.Method == http.MethodHead {
			h.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), readOnlyKey{}, true)))
			return
		}
		deny(w, errors.New("the registry is read-only at this address; push on the manager to localhost"))
	})
}

type readOnlyKey struct{}

// onlyReads reports whether a request came through ReadOnly.
func onlyReads(req *http.Request) bool { return req.Context().Value(readOnlyKey{}) != nil }

func deny(w http.ResponseWriter, err error) {
	w.Header().Del("Content-Length")
	_ = errcode.ServeJSON(w, errcode.ErrorCodeDenied.WithMessage(err.Error()))
}

// maxPath bounds the path of a request, in bytes: a name, of which distribution allows
// reference.RepositoryNameTotalLengthMax, and a digest or a tag.
const maxPath = 1 << 10

// refusesName answers a request whose repository has a name that none can have.
func refusesName(w http.ResponseWriter, req *http.Request) bool {
	f := contentPath.FindStringSubmatch(req.URL.Path)
	if len(req.URL.Path) <= maxPath && (f == nil || len(f[1]) <= reference.RepositoryNameTotalLengthMax) {
		return false
	}
	_ = errcode.ServeJSON(w, errcode.ErrorCodeNameInvalid.WithMessage(
		"the name is longer than that of a repository may be"))
	return true
}

// serve puts before distribution's app what this package adds to it. shared says that it speaks for all
// registries that are one, and not for this one alone.
func (r *Registry) serve(app http.Handler, shared bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if refusesName(w, req) {
			return
		}
		if ended := r.pushes.watch(req, r.now); ended != nil {
			answer := &statusWriter{ResponseWriter: w}
			defer func() { ended(answer.status) }()
			w = answer
		}
		if shared {
			r.serveShared(app, w, req)
			return
		}
		r.serveHere(app, w, req)
	})
}

func (r *Registry) serveHere(app http.Handler, w http.ResponseWriter, req *http.Request) {
	switch req.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		r.serveWrite(app, w, req)
	default:
		app.ServeHTTP(w, req)
	}
}

func (r *Registry) serveWrite(app http.Handler, w http.ResponseWriter, req *http.Request) {
	if err := r.disk.Check(req.ContentLength); err != nil {
		r.log.Warn("refused a push", "path", req.URL.Path, "err", err)
		deny(w, err)
		r.dropRefused(req.URL.Path)
		return
	}
	ctx, f := storage.WithFault(req.Context())
	fw := &faultWriter{ResponseWriter: w, fault: f, disk: r.disk}
	if manifestPath.MatchString(req.URL.Path) {
		r.servePut(app, fw, req.WithContext(ctx))
	} else {
		app.ServeHTTP(fw, req.WithContext(ctx))
	}
	if p := f.At(); p != "" {
		r.log.Warn("push failed", "path", req.URL.Path, "err", r.disk.Full())
		r.dropHalf(p)
	}
}

// servePut lets a manifest in. It reads the body first, so that a slow client
// does not hold up a collection that waits at the barrier.
func (r *Registry) servePut(app http.Handler, w http.ResponseWriter, req *http.Request) {
	body, err := bound.ReadAll(req.Body, maxManifest)
	if err != nil {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeManifestInvalid.WithDetail(err.Error()))
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	r.puts.RLock()
	defer r.puts.RUnlock()
	app.ServeHTTP(w, req)
}

// dropRefused removes the upload to which the path of a refused request belongs:
// its client gives up.
func (r *Registry) dropRefused(urlPath string) {
	m := uploadPath.FindStringSubmatch(urlPath)
	if m == nil {
		return
	}
	if repo, err := reference.WithName(m[1]); err == nil {
		r.dropHalf(path.Join(layout.RepoDir(repo.Name(), "_uploads"), m[2]))
	}
}

// dropHalf removes what a push that found the disk full left behind; p is the
// file that did not fit.
func (r *Registry) dropHalf(p string) {
	var err error
	if upload, ok := ancestorIn(p, "/_uploads/"); ok {
		err = r.layout.RemoveAll(upload)
	} else if tag, ok := ancestorIn(p, "/_manifests/tags/"); ok {
		r.puts.Lock()
		defer r.puts.Unlock()
		err = r.layout.DropDangling(tag)
	}
	if err != nil {
		r.log.Warn("failed to clean up after a failed push", "path", p, "err", err)
	}
}

// ancestorIn returns the prefix of p that ends with the element after dir.
func ancestorIn(p, dir string) (string, bool) {
	before, after, ok := strings.Cut(p, dir)
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(after, "/")
	return path.Join(before, dir, name), true
}

// faultWriter answers with DENIED, whatever distribution answers, once the disk
// was found full. Not only errors: distribution overlooks a failed close.
type faultWriter struct {
	http.ResponseWriter
	fault  *storage.Fault
	disk   storage.Disk
	wrote  bool
	denied bool
}

func (w *faultWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	if w.fault.At() == "" {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.denied = true
	deny(w.ResponseWriter, w.disk.Full())
}

func (w *faultWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.denied {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

func (w *faultWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
