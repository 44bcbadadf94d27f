package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// put pushes an image of one layer and returns its digest.
func put(t *testing.T, srv *httptest.Server, repo, tag, layer string) digest.Digest {
	t.Helper()
	send := func(method, path, body, kind string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
		return resp
	}
	blob := func(content string) string {
		at := send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "", "").Header.Get("Location")
		at = strings.TrimPrefix(at, srv.URL)
		d := digest.FromString(content)
		send(http.MethodPut, at+"&digest="+d.String(), content, "application/octet-stream")
		return fmt.Sprintf(`{"mediaType":"%%s","size":%d,"digest":"%s"}`, len(content), d)
	}
	const kind = "application/vnd.oci.image."
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%smanifest.v1+json","config":%s,"layers":[%s]}`, kind,
		fmt.Sprintf(blob(`{"architecture":"amd64","os":"linux"}`), kind+"config.v1+json"),
		fmt.Sprintf(blob(layer), kind+"layer.v1.tar+gzip"))
	send(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, manifest, kind+"manifest.v1+json")
	return digest.FromString(manifest)
}

func open(t *testing.T, dir string) (*registry.Registry, *httptest.Server) {
	t.Helper()
	r, err := registry.Open(context.Background(), registry.Options{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		srv.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, srv
}

// TestArchive_OutAndBack brings images out of a registry that runs, and into one that is empty.
func TestArchive_OutAndBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, srv := open(t, dir)
	a, b := put(t, srv, "team/a", "1", "layer of a"), put(t, srv, "b", "2", "layer of b")
	lost := put(t, srv, "lost", "3", "layer that is lost")
	if err := os.Remove(layout.Layout{Root: dir}.BlobFile(digest.FromString("layer that is lost"))); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	out, w := tar.NewWriter(&file), Writer{Root: dir}
	for _, tc := range []struct {
		image Image
		ok    bool
	}{
		{Image{"team/a", "1", a}, true},
		{Image{"team/a", "1", a}, true},
		{Image{"b", "", b}, true},
		{Image{"lost", "3", lost}, false},
		{Image{"nowhere", "1", digest.FromString("nowhere")}, false},
	} {
		if ok, err := w.Write(out, tc.image); ok != tc.ok || err != nil {
			t.Errorf("%v: got %v, %v", tc.image, ok, err)
		}
	}
	if err := out.Close(); err != nil || w.Bytes == 0 {
		t.Errorf("%d bytes, %v", w.Bytes, err)
	}
	temp, back := filepath.Join(t.TempDir(), "temp"), t.TempDir()
	in, names := tar.NewReader(&file), map[string]bool{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if names[h.Name] {
			t.Errorf("%s is there twice", h.Name)
		}
		names[h.Name] = true
		if err := Restore(temp, h, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := Move(temp, back); err != nil {
		t.Fatal(err)
	}
	_, again := open(t, back)
	for path, status := range map[string]int{
		"team/a/manifests/1":                                  http.StatusOK,
		"team/a/manifests/" + a.String():                      http.StatusOK,
		"b/manifests/" + b.String():                           http.StatusOK,
		"b/manifests/2":                                       http.StatusNotFound,
		"lost/manifests/3":                                    http.StatusNotFound,
		"b/blobs/" + digest.FromString("layer of b").String(): http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, again.URL+"/v2/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
		resp, err := again.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, resp.Status, status)
		}
	}
}

// TestRestore_Refuses: what is not as it is named is not taken, and nothing is written outside.
func TestRestore_Refuses(t *testing.T) {
	t.Parallel()
	const v2 = "images/docker/registry/v2/"
	x := digest.FromString("x").Encoded()
	const tag = "/_manifests/tags/1/current/link"
	blob, link := v2+"blobs/sha256/"+x[:2]+"/"+x+"/data", v2+"repositories/r/_layers/sha256/"+x+"/link"
	for name, tc := range map[string]struct {
		file, content string
		kind          byte
		ok            bool
	}{
		"a blob":             {blob, "x", tar.TypeReg, true},
		"a link":             {link, "sha256:" + x, tar.TypeReg, true},
		"a tag":              {v2 + "repositories/a/b-c" + tag, "sha256:" + x, tar.TypeReg, true},
		"of a later version": {"queue/journal", "x", tar.TypeReg, true},
		"another content":    {blob, "y", tar.TypeReg, false},
		"another directory":  {v2 + "blobs/sha256/zz/" + x + "/data", "x", tar.TypeReg, false},
		"another prefix":     {v2 + "blobs/sha256/00/" + x + "/data", "x", tar.TypeReg, false},
		"a link elsewhere":   {link, "sha256:" + digest.FromString("y").Encoded(), tar.TypeReg, false},
		"a link to nothing":  {link, "x", tar.TypeReg, false},
		"a long link":        {link, strings.Repeat("x", maxLink+1), tar.TypeReg, false},
		"up":                 {v2 + "repositories/../../x" + tag, "sha256:" + x, tar.TypeReg, false},
		"absolute":           {"images//etc/passwd", "x", tar.TypeReg, false},
		"a symbolic link":    {blob, "", tar.TypeSymlink, false},
		"from the tags":      {v2 + "repositories/r/_manifests/tags/../../link", "sha256:" + x, tar.TypeReg, false},
	} {
		dir := t.TempDir()
		root := filepath.Join(dir, "registry")
		h := &tar.Header{Name: tc.file, Size: int64(len(tc.content)), Typeflag: tc.kind}
		if err := Restore(root, h, strings.NewReader(tc.content)); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", name, err)
		}
		err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && (!tc.ok || !strings.HasPrefix(p, root+"/docker/")) {
				t.Errorf("%s: it left %s", name, p)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
