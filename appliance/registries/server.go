package registries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

const (
	// maxManifest bounds a manifest, in bytes, as registries do.
	maxManifest = 4 << 20
	// maxSaid bounds what a registry says of why it refuses, in bytes.
	maxSaid = 1 << 10
	// silence is how long a registry that takes a blob may take nothing.
	silence = 20 * time.Second
	// answerTime bounds an answer that has no blob.
	answerTime = 2 * time.Minute
)

var (
	// errNotThere is returned for what a registry has not.
	errNotThere = errors.New("it is not there")
	// errNowhere is returned by a mirror for what none of those has that it reaches.
	errNowhere = errors.New("no node that answers has it")
)

// manifestTypes are those that a registry may give out.
const manifestTypes = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// server is a registry that is spoken to in the way of registries.
type server struct {
	client *http.Client
	base   string // of its URLs, before /v2/
}

// do sends a request. The error is errNotThere for 404.
func (r server) do(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, wire.WithoutURL(err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, errNotThere
	case http.StatusFailedDependency:
		return nil, errNowhere
	}
	said, _ := bound.ReadAll(resp.Body, maxSaid)
	return nil, fmt.Errorf("it answers %s: %.300q", resp.Status, said)
}

// call is do for an answer without content.
func (r server) call(ctx context.Context, method, path string, body io.Reader, header ...string) (http.Header, error) {
	resp, err := r.do(ctx, method, path, body, header...)
	if err != nil {
		return nil, err
	}
	return resp.Header, resp.Body.Close()
}

func blobPath(repo string, d digest.Digest) string { return "/v2/" + repo + "/blobs/" + d.String() }

func manifestPath(repo string, d digest.Digest) string {
	return "/v2/" + repo + "/manifests/" + d.String()
}

// has reports whether it has what a path names.
func (r server) has(ctx context.Context, path string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := r.call(ctx, http.MethodHead, path, nil, "Accept", manifestTypes)
	if errors.Is(err, errNotThere) {
		return false, nil
	}
	return err == nil, err
}

// manifest returns a manifest, which is what its digest says.
func (r server) manifest(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := r.do(ctx, http.MethodGet, manifestPath(repo, d), nil, "Accept", manifestTypes)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := bound.ReadAll(resp.Body, maxManifest)
	if err != nil {
		return nil, err
	}
	if d.Validate() != nil || d.Algorithm().FromBytes(content) != d {
		return nil, fmt.Errorf("it gives something else for %s", d)
	}
	return content, nil
}

// put brings a manifest.
func (r server) put(ctx context.Context, repo string, d digest.Digest, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	kind, err := mirror.MediaTypeOf(content)
	if err == nil {
		_, err = r.call(ctx, http.MethodPut, manifestPath(repo, d), bytes.NewReader(content), "Content-Type", kind)
	}
	return err
}

// delete removes what a path names.
func (r server) delete(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, err := r.call(ctx, http.MethodDelete, path, nil)
	if errors.Is(err, errNotThere) {
		return nil
	}
	return err
}

// upload is a blob on its way.
type upload struct {
	server
	at string // its path, which says how far it is
}

// begin begins an upload.
func (r server) begin(ctx context.Context, repo string) (*upload, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	header, err := r.call(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	u := &upload{server: r}
	return u, u.moved(header)
}

// moved takes over where an upload goes on, which is with the same registry.
func (u *upload) moved(header http.Header) error {
	at, err := url.Parse(header.Get("Location"))
	if err != nil || !strings.HasPrefix(at.Path, "/v2/") {
		return errors.New("it does not say where an upload goes on")
	}
	u.at = at.RequestURI()
	return nil
}

// send sends the blob, however long that takes, but not where nothing of it is taken for a while, other than
// since body has nothing.
func (u *upload) send(ctx context.Context, body io.Reader) error {
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	quiet := clock.NewSilence(silence, func() { give(fmt.Errorf("it took nothing for %s", silence)) })
	defer quiet.Stop()
	sent := &watched{body: body, quiet: quiet}
	header, err := u.call(ctx, http.MethodPatch, u.at, sent, "Content-Type", "application/octet-stream")
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	return u.moved(header)
}

// end ends an upload that was sent.
func (u *upload) end(ctx context.Context, d digest.Digest) error {
	at, err := url.Parse(u.at)
	if err != nil {
		return err
	}
	query := at.Query()
	query.Set("digest", d.String())
	at.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err = u.call(ctx, http.MethodPut, at.RequestURI(), nil)
	return err
}

// drop ends an upload that is not to be.
func (u *upload) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	_, _ = u.call(ctx, http.MethodDelete, u.at, nil) // or a collection does
}

// bring brings a blob from a reader, where all of it has a size.
func (r server) bring(ctx context.Context, repo string, d digest.Digest, size int64, from io.Reader) error {
	u, err := r.begin(ctx, repo)
	if err != nil {
		return err
	}
	if err = u.send(ctx, io.LimitReader(from, size+1)); err == nil { // more than there is fails by its digest
		err = u.end(ctx, d)
	}
	if err != nil {
		u.drop(ctx)
	}
	return err
}

// blob opens a blob.
func (r server) blob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, error) {
	resp, err := r.do(ctx, http.MethodGet, blobPath(repo, d), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// watched is a body that is sent. While it is read from, nobody waits for the other end.
type watched struct {
	body  io.Reader
	quiet *clock.Silence
}

func (w *watched) Read(p []byte) (int, error) {
	w.quiet.Stop()
	n, err := w.body.Read(p)
	if err == nil { // else the answer is waited for
		w.quiet.Heard()
	}
	return n, err
}
