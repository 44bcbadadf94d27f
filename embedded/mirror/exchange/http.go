package exchange

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// Path is where nodes ask each other: PathDIGEST for the table of a blob, and below
// it join, news and take.
const Path = "/v1/pieces/"

// pieceHeader names the piece that an answer has.
const pieceHeader = "Crawlbox-Piece"

var exchangePath = regexp.MustCompile(`^` + Path + `(sha256:[0-9a-f]{64})(?:/(join|news|take))?$`)

// Handler answers other nodes. admit lets only nodes through, and looks at each
// request, also at those on a connection that stands for long. from names the one
// that asks by its address and port, for the others.
func (x *Exchange) Handler(admit func(http.Handler) http.Handler, from func(*http.Request) string) http.Handler {
	return admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		node := from(r)
		answer := x.answer(node)
		if r.URL.Path == framesPath {
			x.serveFrames(w, r, node, admit(answer))
			return
		}
		answer.ServeHTTP(w, r)
	}))
}

// answer returns the handler for a node.
func (x *Exchange) answer(from string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := exchangePath.FindStringSubmatch(r.URL.Path)
		if f == nil {
			http.NotFound(w, r)
			return
		}
		d := digest.Digest(f[1])
		switch [2]string{r.Method, f[2]} {
		case [2]string{http.MethodGet, ""}:
			x.serveTable(w, d)
		case [2]string{http.MethodPost, "join"}:
			_ = json.NewEncoder(w).Encode(News{Nodes: x.Join(from, d)})
		case [2]string{http.MethodGet, "news"}:
			x.serveNews(w, r, from, d)
		case [2]string{http.MethodPost, "take"}:
			x.servePiece(w, r, d)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}

// statusOf gives the status that says an error to other nodes.
func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrEnough):
		return http.StatusTooManyRequests
	default:
		return http.StatusInternalServerError
	}
}

func (x *Exchange) refuse(w http.ResponseWriter, err error) {
	if statusOf(err) == http.StatusInternalServerError {
		x.log.Debug("cannot give a piece", "error", err)
	}
	w.WriteHeader(statusOf(err))
}

func (x *Exchange) serveTable(w http.ResponseWriter, d digest.Digest) {
	t, err := x.Table(d)
	if err != nil {
		x.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(t.encode())
}

func (x *Exchange) serveNews(w http.ResponseWriter, r *http.Request, from string, d digest.Digest) {
	said := false
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	err := x.Follow(r.Context(), from, d, func(n News) error {
		said = true
		return errors.Join(out.Encode(n), flush.Flush())
	})
	if err != nil && !said {
		x.refuse(w, err)
	}
}

func (x *Exchange) servePiece(w http.ResponseWriter, r *http.Request, d digest.Digest) {
	var ask Ask
	if err := bound.JSON(r.Body, maxAsk, &ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	piece, length, body, err := x.Take(r.Context(), d, ask)
	if err != nil {
		x.refuse(w, err)
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
