package control

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// Access is who may join the cluster and push to its registry. The functions of
// what is on another node are nil.
type Access struct {
	NewToken         func(ctx context.Context, req api.TokenRequest) (api.Token, error)
	Tokens           func(ctx context.Context) ([]api.TokenInfo, error)
	RevokeToken      func(ctx context.Context, id string) error
	RotateTokens     func(ctx context.Context, role string) ([]api.Token, error)
	RegistryLogin    func(ctx context.Context, name string) (api.RegistryLogin, error)
	RegistryAccounts func(ctx context.Context) ([]api.RegistryAccount, error)
	RegistryLogout   func(ctx context.Context, name string) error
	CA               func(ctx context.Context) (string, error)
}

func (b *Backend) NewToken(ctx context.Context, req api.TokenRequest) (api.Token, error) {
	if b.Access.NewToken == nil {
		return api.Token{}, b.onlyOn("the cluster's CA")
	}
	t, err := b.Access.NewToken(ctx, req)
	return t, b.explain(err)
}

func (b *Backend) Tokens(ctx context.Context) ([]api.TokenInfo, error) {
	if b.Access.Tokens == nil {
		return nil, b.onlyOn("the cluster's CA")
	}
	tokens, err := b.Access.Tokens(ctx)
	return tokens, b.explain(err)
}

func (b *Backend) RevokeToken(ctx context.Context, id string) error {
	if b.Access.RevokeToken == nil {
		return b.onlyOn("the cluster's CA")
	}
	return b.explain(b.Access.RevokeToken(ctx, id))
}

func (b *Backend) RotateTokens(ctx context.Context, role string) ([]api.Token, error) {
	if b.Access.RotateTokens == nil {
		return nil, b.onlyOn("the cluster's CA")
	}
	tokens, err := b.Access.RotateTokens(ctx, role)
	return tokens, b.explain(err)
}

func (b *Backend) RegistryLogin(ctx context.Context, name string) (api.RegistryLogin, error) {
	if b.Access.RegistryLogin == nil {
		return api.RegistryLogin{}, b.onlyOn("the registry")
	}
	login, err := b.Access.RegistryLogin(ctx, name)
	return login, b.explain(err)
}

func (b *Backend) RegistryAccounts(ctx context.Context) ([]api.RegistryAccount, error) {
	if b.Access.RegistryAccounts == nil {
		return nil, b.onlyOn("the registry")
	}
	accounts, err := b.Access.RegistryAccounts(ctx)
	return accounts, b.explain(err)
}

func (b *Backend) RegistryLogout(ctx context.Context, name string) error {
	if b.Access.RegistryLogout == nil {
		return b.onlyOn("the registry")
	}
	return b.explain(b.Access.RegistryLogout(ctx, name))
}

func (b *Backend) CA(ctx context.Context) (string, error) {
	if b.Access.CA == nil {
		return "", b.onlyOn("the cluster's CA")
	}
	pem, err := b.Access.CA(ctx)
	return pem, b.explain(err)
}
