package api

import (
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// accountName is what an account at the registry may be called: it goes into
// shell lines and Docker's own files.
var accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkRole(role string) error {
	if role != fleet.RoleWorker && role != fleet.RoleManager {
		return Invalid("role is %q; it is worker or manager", role)
	}
	return nil
}

func (h *handler) token(r *http.Request) (any, error) {
	role := r.URL.Query().Get("role")
	if err := checkRole(role); err != nil {
		return nil, err
	}
	return h.b.Token(r.Context(), role)
}

func (h *handler) newToken(r *http.Request) (any, error) {
	var req TokenRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	note(r, slog.String("role", req.Role), slog.Duration("ttl", req.TTL), slog.Int("uses", req.Uses))
	if err := checkTokenRequest(req); err != nil {
		return nil, err
	}
	token, err := h.b.NewToken(r.Context(), req)
	note(r, slog.String("token", token.ID))
	return token, err
}

func checkTokenRequest(req TokenRequest) error {
	switch {
	case req.TTL < 0 || req.TTL > 0 && req.TTL < time.Second:
		return Invalid("the token would expire after %s; it must be a second or more", req.TTL)
	case req.Uses < 0:
		return Invalid("uses is %d; it must be 1 or more", req.Uses)
	case req.TTL == 0 && req.Uses == 0:
		return Invalid("a token that is not the standing one needs a time, or a number of uses")
	}
	return checkRole(req.Role)
}

func (h *handler) revokeToken(r *http.Request) (any, error) {
	return nil, h.b.RevokeToken(r.Context(), r.PathValue("id"))
}

func (h *handler) rotateTokens(r *http.Request) (any, error) {
	role := r.URL.Query().Get("role")
	if role != "" {
		if err := checkRole(role); err != nil {
			return nil, err
		}
	}
	return list(h.b.RotateTokens(r.Context(), role))
}

func (h *handler) registryLogin(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if !accountName.MatchString(name) {
		return nil, Invalid("%q cannot be the name of an account; it is letters, digits, dots, - and _, 63 at most", name)
	}
	return h.b.RegistryLogin(r.Context(), name)
}

func (h *handler) registryLogout(r *http.Request) (any, error) {
	return nil, h.b.RegistryLogout(r.Context(), r.PathValue("name"))
}
