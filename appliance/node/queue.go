package node

import (
	"crypto/tls"
	"net"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

// buildQueue makes the queue, where the config turns it on.
func (m *Manager) buildQueue() error {
	if m.cfg.Queue == nil {
		return nil
	}
	password, err := queuePassword(*m.cfg.Queue, m.dir("queue.password"))
	if err != nil {
		return err
	}
	addr := netip.AddrPortFrom(bindAddr(m.addr), m.cfg.Queue.Port)
	m.queue, err = queue.New(queue.Options{Addr: addr.String(), Password: password, Dir: m.cfg.QueueDir(), Listen: m.listenQueue}, m.log)
	m.redis = redis.NewClient(&redis.Options{Addr: addr.String(), Password: password, DisableIdentity: true, TLSConfig: m.queueTLS()})
	return err
}

// listenQueue bounds what strangers can take of the queue, and speaks TLS where
// the config says so. Clients show no certificate; they have the password.
func (m *Manager) listenQueue(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	guarded := failpoint.Listener(failpoint.HangQueue, guard.New(ln, guard.Limits{}))
	if !m.cfg.Queue.TLS {
		return guarded, nil
	}
	conf := m.identity.ServerTLS()
	conf.ClientAuth = tls.NoClientCert
	return tls.NewListener(guarded, conf), nil
}

// queueTLS is how this node speaks to its own queue; nil without TLS.
func (m *Manager) queueTLS() *tls.Config {
	if !m.cfg.Queue.TLS {
		return nil
	}
	return m.identity.ClientTLS(fleet.RoleManager)
}
