package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Source reaches a registry. Open sends a GET or HEAD for a path such as
// /v2/spider/manifests/0.01, which may carry a query, and returns whatever
// status comes; an error means that no registry answered. It may be called at
// the same time. The context bounds the body too.
type Source interface {
	Open(ctx context.Context, method, path string, header http.Header) (*http.Response, error)
}

// HTTPSource is a Source over HTTP.
type HTTPSource struct {
	// Client brings the TLS identity. It must have no timeout for whole
	// requests, blobs may take long.
	Client *http.Client
	// Bases returns URLs such as https://10.0.0.1:7980, asked in this order
	// until one answers.
	Bases func() []string
}

// errUnreachable begins the errors of HTTPSource.
var errUnreachable = errors.New("no manager is reachable")

// Open asks one base URL after another.
func (s *HTTPSource) Open(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	failed := errUnreachable
	for _, base := range s.Bases() {
		req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, nil)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", base, err)
		}
		req.Header = header.Clone()
		resp, err := s.Client.Do(req)
		if err == nil {
			return resp, nil
		}
		var where *url.Error // its text repeats the whole URL
		if errors.As(err, &where) {
			err = where.Err
		}
		failed = fmt.Errorf("%w; %s: %w", failed, base, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}
