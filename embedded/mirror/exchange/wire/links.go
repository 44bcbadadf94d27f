package wire

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

const (
	framesPath     = Path + "frames"
	framesProtocol = "crawlbox-pieces/2"
	dialTimeout    = 5 * time.Second
)

// Links implement Network with one connection to each node that is asked.
type Links struct {
	client *http.Client
	ctx    context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	links map[string]*dialled
}

// dialled is a link that stands, is made, or could not be made.
type dialled struct {
	made chan struct{} // closed once one of the others is set
	link *link
	err  error
}

// over reports whether another link has to be made.
func (d *dialled) over() bool {
	select {
	case <-d.made:
		return d.err != nil || !d.link.takes()
	default:
		return false
	}
}

// NewLinks makes a network of a client that brings the TLS identity and has no timeout
// for whole requests. Close must be called.
func NewLinks(client *http.Client) *Links {
	ctx, end := context.WithCancel(context.Background())
	return &Links{client: client, ctx: ctx, end: end, links: map[string]*dialled{}}
}

// Close ends the connections to other nodes.
func (k *Links) Close() {
	k.end()
	k.wg.Wait()
}

// maxTable bounds a table that another node sends, and maxNews one piece of news.
const (
	maxTable = 16 + cut.MaxPieces*sha256.Size
	maxNews  = 64 << 10
)

// Table implements Network.
func (k *Links) Table(ctx context.Context, node string, d digest.Digest) (*cut.Table, error) {
	b := whole{most: maxTable}
	if err := k.ask(ctx, node, http.MethodGet, d, "", nil, &b); err != nil {
		return nil, err
	}
	return cut.Decode(b.Bytes())
}

// Join implements Network.
func (k *Links) Join(ctx context.Context, tracker string, d digest.Digest) ([]string, error) {
	b := whole{most: maxNews}
	if err := k.ask(ctx, tracker, http.MethodPost, d, "/join", nil, &b); err != nil {
		return nil, err
	}
	var n exchange.News
	err := json.Unmarshal(b.Bytes(), &n)
	return n.Nodes, err
}

// Follow implements Network.
func (k *Links) Follow(ctx context.Context, node string, d digest.Digest, see func(exchange.News)) error {
	return k.ask(ctx, node, http.MethodGet, d, "/news", nil, &newsSink{whole{most: maxNews}, see})
}

// Take implements Network.
func (k *Links) Take(ctx context.Context, node string, d digest.Digest, ask exchange.Ask, to exchange.Landing) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	return k.ask(ctx, node, http.MethodPost, d, "/take", body, &pieceSink{to: to})
}

func (k *Links) ask(ctx context.Context, node, method string, d digest.Digest, what string, body []byte,
	into sink) error {
	text := append([]byte(method+" "+Path+d.String()+what+"\n"), body...)
	var err error
	for range 2 { // a link may end before it can be asked on
		var l *link
		if l, err = k.link(ctx, node); err != nil {
			return err
		}
		if err = l.ask(ctx, text, into); !errors.Is(err, errNotAsked) {
			return err
		}
	}
	return err
}

// link returns the link to a node, and makes it if there is none.
func (k *Links) link(ctx context.Context, node string) (*link, error) {
	k.mu.Lock()
	d, ok := k.links[node]
	if !ok || d.over() {
		d = &dialled{made: make(chan struct{})}
		k.links[node] = d
		k.wg.Go(func() { k.keep(node, d) })
	}
	k.mu.Unlock()
	select {
	case <-d.made:
		return d.link, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep makes a link and reads what comes over it, until it or the network ends.
func (k *Links) keep(node string, d *dialled) {
	conn, err := k.dial(node)
	if err == nil {
		d.link = newLink(conn)
	}
	d.err = err
	close(d.made)
	if err == nil {
		stop := context.AfterFunc(k.ctx, func() { d.link.end(net.ErrClosed) })
		d.link.read()
		stop()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links[node] == d {
		delete(k.links, node)
	}
}

// dial makes a connection to a node and asks it for frames.
func (k *Links) dial(node string) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(k.ctx, dialTimeout)
	defer cancel()
	traced := httptrace.WithClientTrace(ctx,
		&httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { watch(i.Conn) }})
	req, err := http.NewRequestWithContext(traced, http.MethodGet, "https://"+node+framesPath, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", framesProtocol)
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, WithoutURL(err)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if ok && resp.StatusCode == http.StatusSwitchingProtocols {
		return conn, nil
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, exchange.ErrUnknown // of a version that exchanges nothing
	}
	return nil, fmt.Errorf("it answers %s", resp.Status)
}

// WithoutURL takes from an error of an http.Client what repeats the whole URL.
func WithoutURL(err error) error {
	if where, ok := errors.AsType[*url.Error](err); ok {
		return where.Err
	}
	return err
}
