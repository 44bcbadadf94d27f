package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxAsks bounds the questions that one node asks at a time, on all its connections.
const maxAsks = 256

// holderOf tells one node from another by its certificate's key or, where there is none,
// by its address: several may come from one.
func holderOf(r *http.Request, from string) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return from
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
	return string(sum[:])
}

// serveFrames upgrades a connection and has handler answer what is asked on it, until
// either side ends it.
func (s *Server) serveFrames(w http.ResponseWriter, r *http.Request, from string, handler http.Handler) {
	if r.Header.Get("Upgrade") != framesProtocol {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a := &answering{
		upgrade: r,
		node:    holderOf(r, from),
		all:     &s.askers,
		handler: handler,
		out:     frameWriter{w: conn},
		buffers: &s.frames,
		log:     s.log,
		asks:    map[uint32]context.CancelFunc{},
	}
	defer a.wg.Wait()
	defer conn.Close()                // so that whoever writes to it ends
	_ = conn.SetDeadline(time.Time{}) // those of the HTTP server
	watch(conn)
	limitUnsent(conn)
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+framesProtocol+"\r\n\r\n"); err != nil {
		return
	}
	a.run(buffered.Reader)
}

// answering is a connection on which another node asks.
type answering struct {
	upgrade *http.Request
	node    string  // that asks
	all     *askers // on this and on other connections
	handler http.Handler
	out     frameWriter
	buffers *sync.Pool
	log     *slog.Logger
	wg      sync.WaitGroup // of those who answer

	mu   sync.Mutex
	asks map[uint32]context.CancelFunc
}

// run reads questions until the connection ends or something else comes.
func (s *answering) run(r *bufio.Reader) {
	ctx, cancel := context.WithCancel(s.upgrade.Context())
	defer cancel()
	for {
		kind, id, n, err := readHead(r, maxAsk)
		if err != nil {
			return
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		switch kind {
		case frameAsk:
			ctx, leave := context.WithCancel(ctx)
			if !s.enter(id, leave) {
				leave()
				return
			}
			s.wg.Go(func() {
				defer s.depart(id)
				s.answer(ctx, id, text)
			})
		case frameLeave:
			s.leave(id)
		default:
			return
		}
	}
}

// enter notes a question. It is false for one number twice, and for too many at a time.
// A question that is noted has to depart.
func (s *answering) enter(id uint32, leave context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.asks[id]; twice || !s.all.enter(s.node) {
		return false
	}
	s.asks[id] = leave
	return true
}

func (s *answering) leave(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if leave, ok := s.asks[id]; ok {
		leave()
	}
}

func (s *answering) depart(id uint32) {
	s.leave(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asks, id)
	s.all.depart(s.node)
}

func (s *answering) answer(ctx context.Context, id uint32, text []byte) {
	w := &answer{
		s:      s,
		ctx:    ctx,
		id:     id,
		header: http.Header{},
		status: http.StatusOK,
	}
	defer func() {
		failed := recover()
		w.finish(failed != nil)
		if err, _ := failed.(error); failed != nil && !errors.Is(err, http.ErrAbortHandler) {
			s.log.Error("an answer to another node failed", "error", fmt.Sprint(failed))
		}
	}()
	line, body, _ := bytes.Cut(text, []byte("\n"))
	method, path, _ := strings.Cut(string(line), " ")
	r, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.TLS, r.RemoteAddr = s.upgrade.TLS, s.upgrade.RemoteAddr
	s.handler.ServeHTTP(w, r)
}

// askers counts how many questions each node has under way, over all its connections.
// A node without any is not in it.
type askers struct {
	mu    sync.Mutex
	nodes map[string]int
}

// enter counts one more, and is false where a node has maxAsks.
func (a *askers) enter(node string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[node] >= maxAsks {
		return false
	}
	if a.nodes == nil {
		a.nodes = map[string]int{}
	}
	a.nodes[node]++
	return true
}

func (a *askers) depart(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[node]--; a.nodes[node] <= 0 {
		delete(a.nodes, node)
	}
}
