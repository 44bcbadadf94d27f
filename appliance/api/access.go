package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
)

// Tokens answers for the tokens that let nodes into the cluster.
type Tokens interface {
	Token(ctx context.Context, role string) (Token, error)
	NewToken(ctx context.Context, req TokenRequest) (Token, error)
	Tokens(ctx context.Context) ([]token.Info, error)
	RevokeToken(ctx context.Context, id string) error
	RotateTokens(ctx context.Context, role string) ([]Token, error)
	CA(ctx context.Context) (string, error)
}

func TokensArea(t Tokens) Area {
	return Area{
		"GET /v1/ca":     Value(plain(t.CA)),
		"GET /v1/token":  Secret(Value(answered(role, t.Token))),
		"GET /v1/tokens": List(plain(t.Tokens)),
		"POST /v1/tokens": Value(func(r *http.Request) (token Token, err error) {
			req, err := tokenRequest(r)
			if err != nil {
				return token, err
			}
			token, err = t.NewToken(r.Context(), req)
			note(r, slog.String("token", token.ID))
			return token, err
		}),
		"DELETE /v1/tokens/{id}": Action(done(path("id"), t.RevokeToken)),
		"POST /v1/tokens/rotate": List(answered(anyRole, t.RotateTokens)),
	}
}

// Accounts answers for the registry's accounts for machines outside the cluster.
type Accounts interface {
	RegistryLogin(ctx context.Context, name string) (RegistryLogin, error)
	RegistryAccounts(ctx context.Context) ([]RegistryAccount, error)
	RegistryLogout(ctx context.Context, name string) error
}

func AccountsArea(a Accounts) Area {
	return Area{
		"GET /v1/registry/accounts":           List(plain(a.RegistryAccounts)),
		"POST /v1/registry/accounts/{name}":   Value(answered(account, a.RegistryLogin)),
		"DELETE /v1/registry/accounts/{name}": Action(done(path("name"), a.RegistryLogout)),
	}
}

// Token is the line that joins a node.
type Token struct {
	ID      string    `json:"id"`
	Role    string    `json:"role"`
	Join    string    `json:"join"`             // CBX1-…
	Command string    `json:"command"`          // the whole line to paste
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Uses    int       `json:"uses,omitempty"`   // how many nodes it may join; 0: any number

	// Bootstrap is the line for a machine that has no crawlbox yet.
	Bootstrap string `json:"bootstrap,omitempty"`
}

// TokenRequest asks for a token of its own. One of TTL and Uses is set.
type TokenRequest struct {
	Role string        `json:"role"`
	TTL  time.Duration `json:"ttl_ns,omitempty"` // 0: it does not expire; else a second or more
	Uses int           `json:"uses,omitempty"`   // 0: any number of nodes
}

// RegistryLogin holds what a machine outside the cluster needs to push images.
type RegistryLogin struct {
	Registry string `json:"registry"` // ADDRESS:8003
	User     string `json:"user"`
	Password string `json:"password"`
	CA       string `json:"ca"` // PEM; for /etc/docker/certs.d
}

// RegistryAccount is a login that was issued, without its password.
type RegistryAccount struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created,omitzero"`
}

// Token returns the standing line that joins a node with the role given.
func (c *Client) Token(ctx context.Context, role string) (v Token, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/token?role="+url.QueryEscape(role), nil, &v)
}

// NewToken makes a token that expires, or is good for a number of nodes.
func (c *Client) NewToken(ctx context.Context, req TokenRequest) (v Token, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/tokens", req, &v)
}

// Tokens returns all tokens, the oldest first.
func (c *Client) Tokens(ctx context.Context) (v []token.Info, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/tokens", nil, &v)
}

// RevokeToken makes a token useless. Nodes that it has joined stay.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
}

// RotateTokens revokes the standing tokens of a role, or of both where role is
// empty, and returns those that take their place.
func (c *Client) RotateTokens(ctx context.Context, role string) (v []Token, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/tokens/rotate?role="+url.QueryEscape(role), nil, &v)
}

// RegistryLogin issues a password for pushing images from outside the cluster.
// One that the same name had before is no longer of use.
func (c *Client) RegistryLogin(ctx context.Context, name string) (v RegistryLogin, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/registry/accounts/"+url.PathEscape(name), nil, &v)
}

// RegistryAccounts returns the logins that were issued, by name.
func (c *Client) RegistryAccounts(ctx context.Context) (v []RegistryAccount, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/registry/accounts", nil, &v)
}

// RegistryLogout ends a login.
func (c *Client) RegistryLogout(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/registry/accounts/"+url.PathEscape(name), nil, nil)
}

// CA returns the certificate of the cluster's CA, as PEM.
func (c *Client) CA(ctx context.Context) (v string, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/ca", nil, &v)
}

func role(r *http.Request) (string, error) {
	role := r.URL.Query().Get("role")
	return role, checkRole(role)
}

// anyRole is role, which may be left out.
func anyRole(r *http.Request) (string, error) {
	if r.URL.Query().Get("role") == "" {
		return "", nil
	}
	return role(r)
}

func checkRole(role string) error {
	if err := naming.CheckRole(role); err != nil {
		return Invalid("%s", err)
	}
	return nil
}

func tokenRequest(r *http.Request) (req TokenRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("role", req.Role), slog.Duration("ttl", req.TTL), slog.Int("uses", req.Uses))
	switch {
	case req.TTL < 0 || req.TTL > 0 && req.TTL < time.Second:
		return req, Invalid("the token would expire after %s; it must be a second or more", req.TTL)
	case req.Uses < 0:
		return req, Invalid("uses is %d; it must be 1 or more", req.Uses)
	case req.TTL == 0 && req.Uses == 0:
		return req, Invalid("a token that is not the standing one needs a time, or a number of uses")
	}
	return req, checkRole(req.Role)
}

func account(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if err := naming.CheckAccount(name); err != nil {
		return "", Invalid("%s", err)
	}
	return name, nil
}
