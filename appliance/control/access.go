package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// Tokens answers api.Tokens on the node that has the cluster's CA.
type Tokens struct {
	tokens   *token.Store
	ca       *pki.CA
	managers func() []netip.AddrPort
	engine   *swarm.Engine
	errs     Errors
}

// NewTokens returns what lets nodes join at the managers, the first of which also installs
// crawlbox on them.
func NewTokens(
	tokens *token.Store, ca *pki.CA, managers func() []netip.AddrPort, engine *swarm.Engine, errs Errors,
) *Tokens {
	return &Tokens{
		tokens:   tokens,
		ca:       ca,
		managers: managers,
		engine:   engine,
		errs:     errs,
	}
}

func (t *Tokens) CA(context.Context) (string, error) { return string(t.ca.PEM()), nil }

// Token implements api.Tokens. The token stays the same over restarts.
func (t *Tokens) Token(_ context.Context, role string) (api.Token, error) {
	c, err := t.tokens.Standing(role)
	if err != nil {
		return api.Token{}, t.errs.explain(err)
	}
	return t.command(c)
}

func (t *Tokens) NewToken(_ context.Context, req api.TokenRequest) (api.Token, error) {
	c, err := t.tokens.Issue(req.Role, req.TTL, req.Uses)
	switch {
	case errors.Is(err, token.ErrRequest):
		return api.Token{}, api.Invalid("%s", err)
	case err != nil:
		return api.Token{}, t.errs.explain(err)
	}
	return t.command(c)
}

func (t *Tokens) command(c token.Issued) (api.Token, error) {
	managers := t.managers()
	managers = managers[:min(len(managers), token.MaxManagers)]
	line, err := token.JoinToken{
		Managers: managers,
		CA:       t.ca.Hash(),
		Role:     c.Role,
		Token:    c.ID,
		Secret:   c.Secret,
		Expires:  c.Expires,
	}.Reveal()
	if err != nil {
		return api.Token{}, t.errs.explain(fmt.Errorf("make the join token: %w", err))
	}
	return api.Token{
		ID:        c.ID,
		Role:      c.Role,
		Join:      line,
		Command:   naming.Join(c.Role) + line,
		Expires:   c.Expires,
		Uses:      c.Uses,
		Bootstrap: bootstrap.Command(managers[0].String(), t.ca.PEM(), line),
	}, nil
}

func (t *Tokens) Tokens(context.Context) ([]token.Info, error) {
	list := t.tokens.List()
	token.Sort(list)
	return list, nil
}

func (t *Tokens) RevokeToken(_ context.Context, id string) error {
	err := t.tokens.Revoke(id)
	if errors.Is(err, token.ErrUnknownToken) {
		return api.NotFound("no token %q; `crawlbox token ls` lists them", id)
	}
	return t.errs.explain(err)
}

// RotateTokens implements api.Tokens. It replaces the standing tokens of a role, of both
// where it is empty, and Swarm's own, which every node got that ever joined by them.
func (t *Tokens) RotateTokens(ctx context.Context, role string) ([]api.Token, error) {
	roles := []string{fleet.RoleWorker, fleet.RoleManager}
	if role != "" {
		roles = []string{role}
	}
	var rotated []api.Token
	for _, role := range roles {
		next, err := t.rotate(ctx, role)
		if err != nil {
			return nil, t.errs.explain(err)
		}
		rotated = append(rotated, next)
	}
	return rotated, nil
}

// rotate replaces Swarm's token first: where Swarm refuses, such as on a node that is no
// longer a manager of it, nothing is changed.
func (t *Tokens) rotate(ctx context.Context, role string) (api.Token, error) {
	if err := t.engine.RotateJoinTokens(ctx, role); err != nil {
		return api.Token{}, err
	}
	if err := t.tokens.Rotate(role); err != nil {
		return api.Token{}, fmt.Errorf(
			"Swarm's own token is another, but the old join token stays: %w; run the same command again", err)
	}
	return t.Token(ctx, role)
}

// Accounts answers api.Accounts on the node that has the registry.
type Accounts struct {
	accounts *access.Accounts
	registry string
	ca       []byte
	errs     Errors
}

// NewAccounts returns the accounts of the registry at an address, whose certificate is
// issued by ca, a PEM.
func NewAccounts(accounts *access.Accounts, registry string, ca []byte, errs Errors) *Accounts {
	return &Accounts{accounts: accounts, registry: registry, ca: ca, errs: errs}
}

func (a *Accounts) RegistryLogin(_ context.Context, name string) (api.RegistryLogin, error) {
	if err := naming.CheckAccount(name); err != nil {
		return api.RegistryLogin{}, api.Invalid("%s", err)
	}
	password, err := a.accounts.Issue(name)
	if err != nil {
		return api.RegistryLogin{}, a.errs.explain(err)
	}
	return api.RegistryLogin{Registry: a.registry, User: name, Password: password, CA: string(a.ca)}, nil
}

func (a *Accounts) RegistryAccounts(context.Context) ([]api.RegistryAccount, error) {
	accounts := a.accounts.List()
	list := make([]api.RegistryAccount, len(accounts))
	for i, each := range accounts {
		list[i] = api.RegistryAccount(each)
	}
	return list, nil
}

func (a *Accounts) RegistryLogout(_ context.Context, name string) error {
	err := a.accounts.Remove(name)
	if errors.Is(err, access.ErrUnknownAccount) {
		return api.NotFound("no login %q; `crawlbox registry ls` lists them", name)
	}
	return a.errs.explain(err)
}
