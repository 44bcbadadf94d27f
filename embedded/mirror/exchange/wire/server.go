// Package wire carries what nodes ask each other in an exchange of pieces: Links ask,
// a Server answers, over one TLS connection from each node to each, in frames.
//
// The frames are this package's own because HTTP/2 took half of crawlbox's processor
// time; the questions and answers in them are those of HTTP, so that a handler answers
// them and admits who asks, see Server.Handler.
package wire

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// Path is where nodes ask each other: PathDIGEST for the table of a blob, and below
// it join, news and take.
const Path = "/v1/pieces/"

// pieceHeader names the piece that an answer has.
const pieceHeader = "Crawlbox-Piece"

var exchangePath = regexp.MustCompile(`^` + Path + `(sha256:[0-9a-f]{64})(?:/(join|news|take))?$`)

// Server answers other nodes from an exchange.
type Server struct {
	x      *exchange.Exchange
	log    *slog.Logger
	askers askers
	frames sync.Pool // of *[headroom + frame]byte, for what is sent
}

// NewServer returns the server of an exchange. One serves all connections.
func NewServer(x *exchange.Exchange, log *slog.Logger) *Server {
	return &Server{x: x, log: log, frames: sync.Pool{New: func() any { return new([headroom + frame]byte) }}}
}

// Handler answers other nodes. admit lets only nodes through, and looks at each
// request, also at those on a connection that stands for long. from names the one
// that asks by its address and port, for the others.
func (s *Server) Handler(admit func(http.Handler) http.Handler, from func(*http.Request) string) http.Handler {
	return admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		node := from(r)
		answer := s.answer(node)
		if r.URL.Path == framesPath {
			s.serveFrames(w, r, node, admit(answer))
			return
		}
		answer.ServeHTTP(w, r)
	}))
}

func (s *Server) answer(from string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := exchangePath.FindStringSubmatch(r.URL.Path)
		if f == nil {
			http.NotFound(w, r)
			return
		}
		d := digest.Digest(f[1])
		switch [2]string{r.Method, f[2]} {
		case [2]string{http.MethodGet, ""}:
			s.serveTable(w, d)
		case [2]string{http.MethodPost, "join"}:
			_ = json.NewEncoder(w).Encode(exchange.News{Nodes: s.x.Join(from, d)})
		case [2]string{http.MethodGet, "news"}:
			s.serveNews(w, r, from, d)
		case [2]string{http.MethodPost, "take"}:
			s.servePiece(w, r, d)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}

// statusOf gives the status that says an error to other nodes.
func statusOf(err error) int {
	switch {
	case errors.Is(err, exchange.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, exchange.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, exchange.ErrEnough):
		return http.StatusTooManyRequests
	default:
		return http.StatusInternalServerError
	}
}

func (s *Server) refuse(w http.ResponseWriter, err error) {
	if statusOf(err) == http.StatusInternalServerError {
		s.log.Debug("cannot give a piece", "error", err)
	}
	w.WriteHeader(statusOf(err))
}

func (s *Server) serveTable(w http.ResponseWriter, d digest.Digest) {
	t, err := s.x.Table(d)
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(t.Encode())
}

func (s *Server) serveNews(w http.ResponseWriter, r *http.Request, from string, d digest.Digest) {
	said := false
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	err := s.x.Follow(r.Context(), from, d, func(n exchange.News) error {
		said = true
		return errors.Join(out.Encode(n), flush.Flush())
	})
	if err != nil && !said {
		s.refuse(w, err)
	}
}

func (s *Server) servePiece(w http.ResponseWriter, r *http.Request, d digest.Digest) {
	var ask exchange.Ask
	if err := bound.JSON(r.Body, maxAsk, &ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	piece, length, body, err := s.x.Take(r.Context(), d, ask)
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.Header().Set(pieceHeader, strconv.Itoa(piece))
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler) // it must not be taken for whole
	}
}
