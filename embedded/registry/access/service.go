package access

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

const (
	tokenPath = "/token"
	service   = "crawlbox"
	// peerTimeout bounds the look at who is at the other end; Docker itself
	// waits 15 s for a token.
	peerTimeout = 10 * time.Second
	noNode      = "only nodes of the cluster read without a login"
	// maxReason bounds how much of an error a stranger is told, in bytes.
	maxReason = 160
)

// serveToken hands out a token to those who prove who they are.
func (n *network) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		// See the package comment on why it is not 405.
		refuse(w, r, &unauthenticatedError{message: "tokens are asked for with GET"})
		return
	}
	p, err := n.prove(r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	n.Admit(r, p.String())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	token := n.tokens.issue(p)
	// No issued_at: Docker then counts by its own clock.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": int(announced.Seconds()),
	})
}

func (n *network) prove(r *http.Request) (party, error) {
	if r.Header.Get("Authorization") == "" {
		return n.recognize(r)
	}
	p, _, err := n.login(r)
	if err == nil {
		n.recordLogin(r, p)
	}
	return p, err
}

// recognize finds out whether a Docker Engine of the cluster asks.
func (n *network) recognize(r *http.Request) (party, error) {
	ctx, cancel := context.WithTimeout(r.Context(), peerTimeout)
	defer cancel()
	right, err := n.Peer(r.WithContext(ctx))
	if err == nil && right >= Read && address(r).IsValid() {
		return party{Node: address(r), Right: min(right, Write)}, nil
	}
	if err == nil {
		return party{}, &unauthenticatedError{message: noNode}
	}
	if n.notes.Allow(bound.Prefix(address(r))) {
		n.Log.Warn("a client without credentials is refused at the registry", "from", r.RemoteAddr, "error", err)
	}
	return party{}, &unauthenticatedError{message: fmt.Sprintf("%s (%s)", noNode, short(err))}
}

// short returns the beginning of an error's first line.
func short(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ToValidUTF8(line[:min(len(line), maxReason)], "")
}
