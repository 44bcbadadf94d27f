package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/inprocess"
	"github.com/crawlbox/crawlbox/embedded/registry/storage"
)

// This file serves one of several registries that are one.

var tagsPath = regexp.MustCompile(`^/v2/(.+)/tags/list$`)

// serveShared serves by what tags point at everywhere, and what is here or with others.
func (r *Registry) serveShared(app http.Handler, w http.ResponseWriter, req *http.Request) {
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	f := contentPath.FindStringSubmatch(req.URL.Path)
	switch list := tagsPath.FindStringSubmatch(req.URL.Path); {
	case f != nil && f[2] == "manifests" && reads:
		r.readManifest(app, w, req, f[1], f[3])
	case f != nil && f[2] == "manifests" && req.Method == http.MethodPut:
		r.putShared(app, w, req, f[1], f[3])
	case f != nil && f[2] == "manifests" && req.Method == http.MethodDelete:
		r.deleteShared(app, w, req, f[1], f[3])
	case f != nil && f[3] == "uploads":
		r.serveUpload(app, w, req, f[1])
	case f != nil && reads:
		r.readDigest(app, w, req, f[1], digest.Digest(f[3]), false)
	case list != nil && reads:
		r.listTags(w, req, list[1])
	case strings.TrimSuffix(req.URL.Path, "/") == "/v2/_catalog" && reads:
		repos := slices.Sorted(maps.Keys(r.tags.All()))
		writePage(w, req, repos, func(page []string) any { return map[string]any{"repositories": page} })
	default:
		r.serveHere(app, w, req)
	}
}

func (r *Registry) readManifest(app http.Handler, w http.ResponseWriter, req *http.Request, repo, ref string) {
	d := digest.Digest(ref)
	if !strings.Contains(ref, ":") {
		to, ok := r.tags.All()[repo][ref]
		if !ok {
			_ = errcode.ServeJSON(w, errcode.ErrorCodeManifestUnknown.WithDetail("unknown tag="+ref))
			return
		}
		d = to.Digest
		req = withPath(req, "/v2/"+repo+"/manifests/"+d.String())
	}
	r.readDigest(app, w, req, repo, d, true)
}

func withPath(req *http.Request, path string) *http.Request {
	next := req.Clone(req.Context())
	next.URL.Path, next.URL.RawPath = path, ""
	next.RequestURI = next.URL.RequestURI()
	return next
}

// readDigest answers from here or, where it is not here, from others.
func (r *Registry) readDigest(app http.Handler, w http.ResponseWriter, req *http.Request, repo string,
	d digest.Digest, manifest bool) {
	if d.Validate() != nil || r.Has(repo, d, manifest) {
		app.ServeHTTP(w, req)
		return
	}
	if req.Method == http.MethodHead && !manifest {
		// It is asked by who pushes, and brings what nobody says to have.
		answer := &inprocess.Answer{}
		if r.others.ServeHTTP(answer, req); answer.Status != http.StatusOK {
			_ = errcode.ServeJSON(w, errcode.ErrorCodeBlobUnknown)
			return
		}
		answer.Send(w)
		return
	}
	r.others.ServeHTTP(w, req)
}

// putShared takes a manifest in, and answers once others have the image and, where it has a tag, all agree on
// that.
func (r *Registry) putShared(app http.Handler, w http.ResponseWriter, req *http.Request, repo, ref string) {
	leave, err := r.room.enter(req.Context(), req.ContentLength)
	if err != nil {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeTooManyRequests.WithMessage(err.Error()))
		return
	}
	defer leave()
	body, err := bound.ReadAll(req.Body, maxManifest)
	if err != nil {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeManifestInvalid.WithDetail(err.Error()))
		return
	}
	d, tag := digest.Digest(ref), ""
	if !strings.Contains(ref, ":") {
		d, tag = digest.FromBytes(body), ref
	}
	if tag != "" && !validTag.MatchString(tag) {
		app.ServeHTTP(w, req) // says so
		return
	}
	ended := r.landing(d)
	defer ended()
	err = r.bringMissing(req.Context(), repo, body)
	answer := &inprocess.Answer{}
	if err == nil {
		here := withPath(req, "/v2/"+repo+"/manifests/"+d.String())
		here.Body = io.NopCloser(bytes.NewReader(body))
		r.serveWrite(app, answer, here)
		if answer.Status == http.StatusCreated {
			err = r.others.Copy(req.Context(), repo, d)
		}
	}
	if err == nil && answer.Status == http.StatusCreated && tag != "" {
		err = r.setTag(req.Context(), repo, tag, d)
	}
	if err != nil {
		r.log.Warn("refused a push", "path", req.URL.Path, "err", err)
		deny(w, err)
		return
	}
	answer.Send(w)
}

var validTag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// deleteShared removes a tag, or a manifest with the tags that point at it.
func (r *Registry) deleteShared(app http.Handler, w http.ResponseWriter, req *http.Request, repo, ref string) {
	d := digest.Digest(ref)
	byTag := !strings.Contains(ref, ":")
	was, err := r.removeTags(req.Context(), repo, func(tag string, to Tag) bool {
		return byTag && tag == ref || to.Digest == d
	})
	switch {
	case err != nil:
		deny(w, err)
	case byTag && !was:
		_ = errcode.ServeJSON(w, errcode.ErrorCodeManifestUnknown.WithDetail("unknown tag="+ref))
	case byTag, d.Validate() == nil && !r.Has(repo, d, true) && was:
		w.WriteHeader(http.StatusAccepted)
	default:
		app.ServeHTTP(w, req)
	}
	if !byTag && err == nil && d.Validate() == nil {
		r.others.Delete(req.Context(), repo, d)
	}
}

// serveUpload lets a blob in, and tells the others when it begins and ends.
func (r *Registry) serveUpload(app http.Handler, w http.ResponseWriter, req *http.Request, repo string) {
	answer := &statusWriter{ResponseWriter: w}
	r.serveHere(app, answer, req)
	m := uploadPath.FindStringSubmatch(req.URL.Path)
	switch {
	case req.Method == http.MethodPost && answer.status == http.StatusAccepted:
		r.others.Begun(repo, w.Header().Get("Docker-Upload-UUID"))
	case m != nil && req.Method == http.MethodPut && answer.status == http.StatusCreated:
		r.others.Ended(repo, m[2], digest.Digest(w.Header().Get("Docker-Content-Digest")))
	case m != nil && (req.Method == http.MethodPut || req.Method == http.MethodDelete):
		r.others.Ended(repo, m[2], "")
	}
}

func (r *Registry) listTags(w http.ResponseWriter, req *http.Request, repo string) {
	tags, ok := r.tags.All()[repo]
	if !ok {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeNameUnknown.WithDetail(map[string]string{"name": repo}))
		return
	}
	writePage(w, req, slices.Sorted(maps.Keys(tags)), func(page []string) any {
		return map[string]any{"name": repo, "tags": page}
	})
}

// writePage answers with those of sorted names that a request asks for.
func writePage(w http.ResponseWriter, req *http.Request, names []string, body func([]string) any) {
	query, most := req.URL.Query(), storage.MaxListed
	if text := query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > storage.MaxListed {
			_ = errcode.ServeJSON(w, errcode.ErrorCodePaginationNumberInvalid.WithDetail(map[string]string{"n": text}))
			return
		}
		most = n
	}
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(names, last)
		if found {
			at++
		}
		names = names[at:]
	}
	if more := len(names) > most; more {
		names = names[:most]
		if most > 0 {
			next := url.Values{"n": {strconv.Itoa(most)}, "last": {names[most-1]}}
			w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.Path, next.Encode()))
		}
	}
	if names == nil {
		names = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	if req.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(body(names))
	}
}

// sharedImages is Images of all registries.
func (r *Registry) sharedImages() ([]Image, error) {
	var images []Image
	for repo, tags := range r.tags.All() {
		for tag, to := range tags {
			img, err := r.sharedOf(repo, tag, to)
			if err != nil {
				return nil, err
			}
			images = append(images, img)
		}
	}
	return sorted(images), nil
}

func (r *Registry) sharedOf(repo, tag string, to Tag) (Image, error) {
	img := Image{Repository: repo, Tag: tag, Digest: to.Digest, Size: to.Size, Pushed: to.Pushed}
	if err := measure(r.layout, to.Digest, map[digest.Digest]int64{}, &img.Platforms); err != nil {
		return img, fmt.Errorf("look at %s: %w", img.Name(), err)
	}
	slices.Sort(img.Platforms)
	img.Platforms = slices.Compact(img.Platforms)
	return img, nil
}

func (r *Registry) sharedImage(ctx context.Context, n name) (Image, error) {
	to, ok := r.tags.All()[n.repo][n.tag]
	if !ok {
		return Image{}, r.unknown(ctx, n)
	}
	return r.sharedOf(n.repo, n.tag, to)
}

// sharedDigest is Digest of all registries.
func (r *Registry) sharedDigest(ctx context.Context, n name) (digest.Digest, error) {
	if n.digest == "" {
		to, ok := r.tags.All()[n.repo][n.tag]
		if !ok {
			return "", r.unknown(ctx, n)
		}
		return to.Digest, nil
	}
	if r.Has(n.repo, n.digest, true) {
		return n.digest, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead,
		"http://localhost/v2/"+n.repo+"/manifests/"+n.digest.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	answer := &inprocess.Answer{}
	r.others.ServeHTTP(answer, req)
	if answer.Status != http.StatusOK {
		return "", r.unknown(ctx, n)
	}
	return n.digest, nil
}

// removeShared is Remove of all registries.
func (r *Registry) removeShared(ctx context.Context, n name) error {
	was, err := r.removeTags(ctx, n.repo, func(tag string, _ Tag) bool { return tag == n.tag })
	switch {
	case err != nil:
		return fmt.Errorf("remove %s: %w", n, err)
	case !was:
		return r.unknown(ctx, n)
	}
	r.log.Info("removed an image", "image", n.String())
	return nil
}
