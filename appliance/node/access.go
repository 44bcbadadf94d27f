package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// access are the calls of the local API about who may join and push.
func (m *Manager) access() control.Access {
	return control.Access{
		NewToken:         m.newToken,
		Tokens:           m.listTokens,
		RevokeToken:      m.revokeToken,
		RotateTokens:     m.rotateTokens,
		RegistryLogin:    m.registryLogin,
		RegistryAccounts: m.registryAccounts,
		RegistryLogout:   m.registryLogout,
		CA:               func(context.Context) (string, error) { return string(m.ca.PEM()), nil },
	}
}

// token is the line that joins a node; it stays the same over restarts.
func (m *Manager) token(_ context.Context, role string) (api.Token, error) {
	c, err := m.tokens.Standing(role)
	if err != nil {
		return api.Token{}, err
	}
	return m.joinLine(c)
}

func (m *Manager) newToken(_ context.Context, req api.TokenRequest) (api.Token, error) {
	c, err := m.tokens.Issue(req.Role, req.TTL, req.Uses)
	if err != nil {
		return api.Token{}, api.Invalid("%s", err)
	}
	return m.joinLine(c)
}

func (m *Manager) joinLine(c token.Issued) (api.Token, error) {
	line, err := token.JoinToken{Managers: m.managers(), CA: m.ca.Hash(), Role: c.Role, Token: c.ID, Secret: c.Secret, Expires: c.Expires}.Reveal()
	if err != nil {
		return api.Token{}, fmt.Errorf("make the join string: %w", err)
	}
	return api.Token{
		ID: c.ID, Role: c.Role, Join: line, Command: "crawlbox " + c.Role + " --join " + line, Expires: c.Expires, Uses: c.Uses,
		Bootstrap: bootstrap.Line(m.nodeAddr(m.addr), m.ca.PEM(), line),
	}, nil
}

func (m *Manager) listTokens(context.Context) ([]api.TokenInfo, error) {
	tokens := m.tokens.List()
	list := make([]api.TokenInfo, len(tokens))
	for i, t := range tokens {
		list[i] = api.TokenInfo{ID: t.ID, Role: t.Role, State: t.State(time.Now()), Created: t.Created, Expires: t.Expires,
			Uses: t.Uses, Used: t.Used, Standing: t.Standing}
	}
	return list, nil
}

func (m *Manager) revokeToken(_ context.Context, id string) error {
	err := m.tokens.Revoke(id)
	if errors.Is(err, token.ErrUnknownToken) {
		return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no token %q; `crawlbox token ls` lists them", id)}
	}
	return err
}

// rotateTokens replaces the standing tokens of a role, of both where it is empty,
// and Swarm's own, which every node got that ever joined by them.
func (m *Manager) rotateTokens(ctx context.Context, role string) ([]api.Token, error) {
	roles := []string{fleet.RoleWorker, fleet.RoleManager}
	if role != "" {
		roles = []string{role}
	}
	var lines []api.Token
	for _, role := range roles {
		// Swarm first: where it refuses, such as on a node that is no manager of it any
		// longer, nothing is changed.
		if err := m.engine.RotateJoinTokens(ctx, role); err != nil {
			return nil, err
		}
		if err := m.tokens.Rotate(role); err != nil {
			return nil, fmt.Errorf("Swarm's own token is another, but the old join string stays: %w; run the same command again", err)
		}
		line, err := m.token(ctx, role)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (m *Manager) registryLogin(_ context.Context, name string) (api.RegistryLogin, error) {
	password, err := m.accounts.Issue(name)
	if err != nil {
		return api.RegistryLogin{}, api.Invalid("%s", err)
	}
	return api.RegistryLogin{Registry: m.registryAddr(), User: name, Password: password, CA: string(m.ca.PEM())}, nil
}

func (m *Manager) registryAccounts(context.Context) ([]api.RegistryAccount, error) {
	accounts := m.accounts.List()
	list := make([]api.RegistryAccount, len(accounts))
	for i, a := range accounts {
		list[i] = api.RegistryAccount{Name: a.Name, Created: a.Created}
	}
	return list, nil
}

func (m *Manager) registryLogout(_ context.Context, name string) error {
	err := m.accounts.Remove(name)
	if errors.Is(err, access.ErrUnknownAccount) {
		return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no login %q; `crawlbox registry ls` lists them", name)}
	}
	return err
}

// registryAccess are the rules of the registry on the network.
func (m *Manager) registryAccess() access.Options {
	return access.Options{
		Accounts: m.accounts,
		Peer:     owner.NewNetwork(m.prover, m.identity, m.members, m.peers, m.addr).Right,
		Member: func(addr netip.Addr) bool {
			return addr == m.addr || addr == bindAddr(m.addr) || len(m.members.At(addr)) > 0
		},
		Host:  m.registryName,
		Admit: owner.Admit,
		Audit: m.audit.Record,
		Log:   m.log,
	}
}

// registryName says whether a Host header names the registry on the network: by
// a name or address that the manager's certificate is good for.
func (m *Manager) registryName(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	return err == nil && port == fmt.Sprint(m.cfg.Registry.Port) && m.identity.Certificate().Leaf.VerifyHostname(host) == nil
}
