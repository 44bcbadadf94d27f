package apitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const ca = "-----BEGIN CERTIFICATE-----\nMIIBnotacertificate\n-----END CERTIFICATE-----\n"

func (c *Cluster) Token(_ context.Context, role string) (api.Token, error) {
	if err := c.manager(); err != nil {
		return api.Token{}, err
	}
	defer c.mu.Unlock()
	for _, t := range c.tokens {
		if t.Role == role && t.Standing && t.State == token.StateGood {
			return line(t), nil
		}
	}
	return line(c.add(token.Info{Role: role, Standing: true})), nil
}

// line returns what joins a node with a token.
func line(t token.Info) api.Token {
	join := fmt.Sprintf("CBX1-%s-%s", t.Role, t.ID)
	return api.Token{
		ID:        t.ID,
		Role:      t.Role,
		Join:      join,
		Command:   "crawlbox " + t.Role + " --join " + join,
		Expires:   t.Expires,
		Uses:      t.Uses,
		Bootstrap: "(curl " + join + ")",
	}
}

func (c *Cluster) add(t token.Info) token.Info {
	t.ID, t.State, t.Created = fmt.Sprintf("new%d", len(c.tokens)+1), token.StateGood, c.now
	c.tokens = append(c.tokens, t)
	return t
}

func (c *Cluster) NewToken(_ context.Context, req api.TokenRequest) (api.Token, error) {
	if err := c.manager(); err != nil {
		return api.Token{}, err
	}
	defer c.mu.Unlock()
	t := token.Info{Role: req.Role, Uses: req.Uses}
	if req.TTL > 0 {
		t.Expires = c.now.Add(req.TTL).Truncate(time.Second)
	}
	return line(c.add(t)), nil
}

func (c *Cluster) Tokens(context.Context) ([]token.Info, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return slices.Clone(c.tokens), nil
}

func (c *Cluster) RevokeToken(_ context.Context, id string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.tokens, func(t token.Info) bool { return t.ID == id })
	if i < 0 {
		return fail(api.CodeNotFound, "unknown token %q; `crawlbox token ls` lists them", id)
	}
	c.tokens[i].State = token.StateRevoked
	return nil
}

func (c *Cluster) RotateTokens(_ context.Context, role string) ([]api.Token, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	var lines []api.Token
	for _, r := range []string{fleet.RoleWorker, fleet.RoleManager} {
		if role != "" && r != role {
			continue
		}
		for i, t := range c.tokens {
			if t.Standing && t.Role == r {
				c.tokens[i].State = token.StateRevoked
			}
		}
		lines = append(lines, line(c.add(token.Info{Role: r, Standing: true})))
	}
	return lines, nil
}

func (c *Cluster) RegistryLogin(_ context.Context, name string) (api.RegistryLogin, error) {
	if err := c.manager(); err != nil {
		return api.RegistryLogin{}, err
	}
	defer c.mu.Unlock()
	c.accounts = append(slices.DeleteFunc(c.accounts, called(name)), api.RegistryAccount{Name: name, Created: c.now})
	slices.SortFunc(c.accounts, func(a, b api.RegistryAccount) int { return strings.Compare(a.Name, b.Name) })
	return api.RegistryLogin{Registry: "10.77.0.11:8003", User: name, Password: "pass of " + name, CA: ca}, nil
}

func called(name string) func(api.RegistryAccount) bool {
	return func(a api.RegistryAccount) bool { return a.Name == name }
}

func (c *Cluster) RegistryAccounts(context.Context) ([]api.RegistryAccount, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return slices.Clone(c.accounts), nil
}

func (c *Cluster) RegistryLogout(_ context.Context, name string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.accounts, called(name)) {
		return fail(api.CodeNotFound, "unknown account %q; `crawlbox registry ls` lists them", name)
	}
	c.accounts = slices.DeleteFunc(c.accounts, called(name))
	return nil
}

// CA implements Backend; a worker has the certificate too.
func (c *Cluster) CA(context.Context) (string, error) { return ca, nil }
