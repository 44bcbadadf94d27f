package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// Source reaches a registry. Open sends a GET or HEAD for a path such as
// /v2/spider/manifests/0.01, which may carry a query, and returns whatever
// status comes; an error means that no registry answered. standIn is set where
// another node answers in the registry's place. It must be safe for concurrent use.
// The context bounds the body too.
type Source interface {
	Open(ctx context.Context, method, path string, header http.Header) (resp *http.Response, standIn bool, err error)
}

type HTTPSource struct {
	// Client brings the TLS identity. It must have no timeout for whole
	// requests, blobs may take long.
	Client *http.Client
	// Bases returns URLs such as https://10.0.0.1:7980, asked in this order
	// until one answers, for what is named by its digest until one has it.
	Bases func() []string
	// Others returns URLs of nodes that may have content by its digest, which
	// OthersClient reaches. They are asked for it where none of Bases answers; nil
	// means that there are none.
	Others       func() []string
	OthersClient *http.Client
}

// StandIn is a header of what Others are asked, which are to answer by what they have themselves: one that asks in its
// turn would come to the nodes that ask it.
const StandIn = "Crawlbox-Stand-In"

// errUnreachable begins the errors of HTTPSource.
var errUnreachable = errors.New("no manager is reachable")

// Open asks one base URL after another. What one has not may be with one that does not answer: then nobody has
// said that it is nowhere.
func (s *HTTPSource) Open(ctx context.Context, method, path string,
	header http.Header) (resp *http.Response, standIn bool, err error) {
	failed := errUnreachable
	bases := s.Bases()
	away := false // some do not answer
	for i, base := range bases {
		resp, err := s.ask(ctx, s.Client, base, method, path, header)
		if err == nil && resp.StatusCode == http.StatusNotFound && byDigest(path) && (i < len(bases)-1 || away) {
			resp.Body.Close()
			failed = fmt.Errorf("%w; %s does not have it", failed, base)
			continue
		}
		if err == nil {
			return resp, false, nil
		}
		away = true
		failed = fmt.Errorf("%w; %s: %w", failed, base, err)
		if ctx.Err() != nil {
			return nil, false, failed
		}
	}
	if s.Others != nil && method == http.MethodGet && byDigest(path) {
		if header = header.Clone(); header == nil {
			header = http.Header{}
		}
		header.Set(StandIn, "1")
		for _, base := range s.Others() {
			if resp, err := s.ask(ctx, s.OthersClient, base, method, path, header); err == nil &&
				resp.StatusCode < http.StatusMultipleChoices {
				return resp, true, nil
			} else if err == nil {
				resp.Body.Close()
			}
		}
	}
	return nil, false, failed
}

// byDigest reports whether a path names its content, so that it does not matter who
// gives it.
func byDigest(path string) bool {
	f := blobPath.FindStringSubmatch(path)
	if f == nil {
		f = manifestPath.FindStringSubmatch(path)
	}
	return f != nil && strings.Contains(f[2], ":")
}

func (s *HTTPSource) ask(ctx context.Context, client *http.Client, base, method, path string,
	header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	resp, err := client.Do(req)
	if err != nil {
		return nil, wire.WithoutURL(err)
	}
	return resp, nil
}
