package images

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBacked: what the first has not comes from the second, with nothing of what the first said.
func TestBacked(t *testing.T) {
	t.Parallel()
	first := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("From", "first")
		if !strings.HasPrefix(r.URL.Path, "/first") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "first "+r.Method)
	})
	second := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "second "+r.Method)
	})
	for _, c := range []struct{ method, path, want, from string }{
		{http.MethodGet, "/first", "first GET", "first"},
		{http.MethodGet, "/other", "second GET", ""},
		{http.MethodHead, "/other", "second HEAD", ""},
		{http.MethodPut, "/first", "second PUT", ""},
	} {
		rec := httptest.NewRecorder()
		backed(first, second).ServeHTTP(rec, httptest.NewRequest(c.method, c.path, http.NoBody))
		if rec.Code != http.StatusOK || rec.Body.String() != c.want || rec.Header().Get("From") != c.from {
			t.Errorf("%s %s: %d %q of %q, want %q of %q", c.method, c.path, rec.Code, rec.Body,
				rec.Header().Get("From"), c.want, c.from)
		}
	}
}
