package node

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// buildQueue makes the queue's supervisor, where the config turns it on.
func (m *Manager) buildQueue() error {
	if m.cfg.Queue == nil {
		return nil
	}
	password, err := queuePassword(*m.cfg.Queue, m.dir("queue.password"))
	if err != nil {
		return err
	}
	opts := queueproc.Options{Listener: m.ground.queue, Password: password, Dir: m.cfg.QueueDir(), MaxMemory: int64(m.cfg.Queue.MaxMemory)}
	if m.cfg.Queue.TLS {
		opts.TLS = m.queueCertificate
	}
	if m.queue, err = queueproc.New(opts, m.log); err != nil {
		return err
	}
	addr := netip.AddrPortFrom(bindAddr(m.addr), m.cfg.Queue.Port)
	m.redis = redis.NewClient(&redis.Options{Addr: addr.String(), Password: password, DisableIdentity: true, TLSConfig: m.queueTLS()})
	return nil
}

// queueCertificate issues what the queue shows to its clients: the node's own key is
// not for a process that parses strangers' bytes.
func (m *Manager) queueCertificate() (queueproc.KeyPair, error) {
	cert, key, err := m.ca.IssueServer(m.identity)
	return queueproc.KeyPair{Certificate: cert, Key: key}, err
}

// queueTLS is how this node speaks to its own queue; nil without TLS.
func (m *Manager) queueTLS() *tls.Config {
	if !m.cfg.Queue.TLS {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(m.ca.PEM())
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: m.addr.String()}
}
