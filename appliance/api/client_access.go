package api

import (
	"context"
	"net/http"
	"net/url"
)

// Token returns the standing line that joins a node with the role given.
func (c *Client) Token(ctx context.Context, role string) (v Token, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/token?role="+url.QueryEscape(role), nil, &v)
}

// NewToken makes a token that expires, or is good for a number of nodes.
func (c *Client) NewToken(ctx context.Context, req TokenRequest) (v Token, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/tokens", req, &v)
}

// Tokens returns all tokens, the oldest first.
func (c *Client) Tokens(ctx context.Context) (v []TokenInfo, err error) {
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
// One that the same name had before is of no use any more.
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
