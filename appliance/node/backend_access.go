package node

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// permits are who may join the cluster and push to its registry. The functions of
// what is on another node are nil.
type permits struct {
	newToken         func(ctx context.Context, req api.TokenRequest) (api.Token, error)
	tokens           func(ctx context.Context) ([]api.TokenInfo, error)
	revokeToken      func(ctx context.Context, id string) error
	rotateTokens     func(ctx context.Context, role string) ([]api.Token, error)
	registryLogin    func(ctx context.Context, name string) (api.RegistryLogin, error)
	registryAccounts func(ctx context.Context) ([]api.RegistryAccount, error)
	registryLogout   func(ctx context.Context, name string) error
	ca               func(ctx context.Context) (string, error)
}

func (b *backend) NewToken(ctx context.Context, req api.TokenRequest) (api.Token, error) {
	if b.access.newToken == nil {
		return api.Token{}, b.onlyOn("the cluster's CA")
	}
	t, err := b.access.newToken(ctx, req)
	return t, b.explain(err)
}

func (b *backend) Tokens(ctx context.Context) ([]api.TokenInfo, error) {
	if b.access.tokens == nil {
		return nil, b.onlyOn("the cluster's CA")
	}
	tokens, err := b.access.tokens(ctx)
	return tokens, b.explain(err)
}

func (b *backend) RevokeToken(ctx context.Context, id string) error {
	if b.access.revokeToken == nil {
		return b.onlyOn("the cluster's CA")
	}
	return b.explain(b.access.revokeToken(ctx, id))
}

func (b *backend) RotateTokens(ctx context.Context, role string) ([]api.Token, error) {
	if b.access.rotateTokens == nil {
		return nil, b.onlyOn("the cluster's CA")
	}
	tokens, err := b.access.rotateTokens(ctx, role)
	return tokens, b.explain(err)
}

func (b *backend) RegistryLogin(ctx context.Context, name string) (api.RegistryLogin, error) {
	if b.access.registryLogin == nil {
		return api.RegistryLogin{}, b.onlyOn("the registry")
	}
	login, err := b.access.registryLogin(ctx, name)
	return login, b.explain(err)
}

func (b *backend) RegistryAccounts(ctx context.Context) ([]api.RegistryAccount, error) {
	if b.access.registryAccounts == nil {
		return nil, b.onlyOn("the registry")
	}
	accounts, err := b.access.registryAccounts(ctx)
	return accounts, b.explain(err)
}

func (b *backend) RegistryLogout(ctx context.Context, name string) error {
	if b.access.registryLogout == nil {
		return b.onlyOn("the registry")
	}
	return b.explain(b.access.registryLogout(ctx, name))
}

func (b *backend) CA(ctx context.Context) (string, error) {
	if b.access.ca == nil {
		return "", b.onlyOn("the cluster's CA")
	}
	pem, err := b.access.ca(ctx)
	return pem, b.explain(err)
}
