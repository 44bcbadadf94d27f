package node

import (
	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// credentials opens what says who this manager is and who else may do what. What
// is missing is made.
func (m *Manager) credentials() (err error) {
	if m.state, err = state.Open(state.Dir(m.cfg.DataDir), state.Options{Author: m.name, Files: state.Files(m.cfg.DataDir)}); err != nil {
		return err
	}
	if m.ca, err = pki.LoadOrCreateCA(m.state); err != nil {
		return err
	}
	if m.tokens, err = token.Open(m.state); err != nil {
		return err
	}
	if m.members, err = member.Open(m.state, pki.NodeLife()); err != nil {
		return err
	}
	if m.keys, err = member.OpenKeys(m.state); err != nil {
		return err
	}
	if m.accounts, err = access.OpenAccounts(state.NewDocument(m.state, state.Accounts)); err != nil {
		return err
	}
	if m.audit, err = audit.Open(m.dir("audit.log"), m.log); err != nil {
		return err
	}
	self := pki.Self{Name: m.name, Addr: m.addr, Version: m.opts.Version}
	member := pki.Membership{Managers: m.managers()}
	if m.identity, err = pki.ManagerIdentity(m.dir("node"), m.ca, self, member); err != nil {
		return err
	}
	if m.addr.IsLoopback() {
		return nil
	}
	return pki.InstallCA(pki.CertsDir, m.registryAddr(), m.ca.PEM())
}
