package exchange

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// HTTPNetwork reaches the handlers of other nodes over HTTPS.
type HTTPNetwork struct {
	client *http.Client
	end    context.CancelFunc // of the connections
}

// NewHTTPNetwork makes a network of a client that brings the TLS identity and has no
// timeout for whole requests. Close must be called.
func NewHTTPNetwork(client *http.Client) HTTPNetwork {
	ctx, end := context.WithCancel(context.Background())
	return HTTPNetwork{muxClient(ctx, client), end}
}

// Close ends the connections to other nodes.
func (h HTTPNetwork) Close() {
	h.end()
	h.client.CloseIdleConnections()
}

// maxTable bounds a table that another node sends, and maxNews one piece of news.
const (
	maxTable = 16 + maxPieces*sha256.Size
	maxNews  = 64 << 10
)

// Table implements Network.
func (h HTTPNetwork) Table(ctx context.Context, node string, d digest.Digest) (*Table, error) {
	resp, err := h.do(ctx, http.MethodGet, node, d, "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxTable+1))
	if err != nil {
		return nil, err
	}
	return decodeTable(b)
}

// Join implements Network.
func (h HTTPNetwork) Join(ctx context.Context, tracker string, d digest.Digest) ([]string, error) {
	resp, err := h.do(ctx, http.MethodPost, tracker, d, "/join", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var n News
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxNews)).Decode(&n); err != nil {
		return nil, err
	}
	return n.Nodes, nil
}

// Follow implements Network.
func (h HTTPNetwork) Follow(ctx context.Context, node string, d digest.Digest, see func(News)) error {
	resp, err := h.do(ctx, http.MethodGet, node, d, "/news", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := &io.LimitedReader{R: resp.Body}
	for dec := json.NewDecoder(body); ; {
		body.N = maxNews
		var n News
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		see(n)
	}
}

// Take implements Network.
func (h HTTPNetwork) Take(ctx context.Context, node string, d digest.Digest, ask Ask) (int, io.ReadCloser, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return 0, nil, err
	}
	resp, err := h.do(ctx, http.MethodPost, node, d, "/take", body)
	if err != nil {
		return 0, nil, err
	}
	piece, err := strconv.Atoi(resp.Header.Get(pieceHeader))
	if err != nil {
		resp.Body.Close()
		return 0, nil, errors.New("it does not say which piece it sends")
	}
	return piece, resp.Body, nil
}

func (h HTTPNetwork) do(ctx context.Context, method, node string, d digest.Digest, what string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+node+Path+d.String()+what, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, WithoutURL(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, ErrUnknown
	case http.StatusServiceUnavailable:
		return nil, ErrBusy
	case http.StatusTooManyRequests:
		return nil, ErrEnough
	default:
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
}

// WithoutURL takes from an error of an http.Client what repeats the whole URL.
func WithoutURL(err error) error {
	var where *url.Error
	if errors.As(err, &where) {
		return where.Err
	}
	return err
}
