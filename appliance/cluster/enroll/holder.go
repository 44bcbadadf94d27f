package enroll

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/guard"
)

// RequireToken lets only those through to next who show a join string that would let
// a node in now, as `Authorization: Bearer CBX1-…`; next is told for which role. It
// uses nothing up, and counts tries that fail as those to join. Others are answered by
// refused, with one of the refusals.
func (s *Server) RequireToken(next func(w http.ResponseWriter, r *http.Request, role string), refused func(http.ResponseWriter, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" { // not even a try
			refused(w, ErrBadRequest)
			return
		}
		held, err := s.holds(r)
		line := []slog.Attr{slog.String("remote", r.RemoteAddr), slog.String("path", r.URL.Path), slog.String("token", held.Token), slog.String("role", held.Role)}
		if err != nil {
			s.Audit("bootstrap refused", append(line, slog.String("reason", reason(err)))...)
			refused(w, err)
			return
		}
		s.Audit("bootstrap", line...)
		guard.AdmitRequest(r.Context(), "token "+held.Token)
		next(w, r, held.Role)
	})
}

// holds returns the join string that came with a request. Of one that is no good it
// returns what may be told.
func (s *Server) holds(r *http.Request) (held token.JoinToken, err error) {
	remote := remoteAddr(r)
	if !s.tries.allow(remote) {
		return token.JoinToken{}, ErrTooMany
	}
	defer func() {
		if err != nil {
			s.tries.failed(remote)
		}
	}()
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if held, err = token.Parse(text); err != nil {
		return token.JoinToken{}, ErrBadRequest
	}
	if held.CA != s.CA.Hash() {
		return held, token.ErrUnknownToken
	}
	return held, s.Tokens.Usable(held.Token, held.Secret, held.Role)
}
