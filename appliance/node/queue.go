package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
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

// queueTroubles are sentences on what is not as it should be with the queue.
func queueTroubles(st queueproc.State) (list []string) {
	if st.Problem != "" {
		list = append(list, fmt.Sprintf("the queue does not run: %s; it is tried again by itself, and all else goes on", st.Problem))
	}
	if is := st.Progress; is.Bound > 0 && is.Memory >= is.Bound {
		list = append(list, "the queue is full, and refuses what makes it larger with OOM: take items out, or raise queue.max_memory and start crawlbox again")
	}
	if st.Progress.NoDisk {
		list = append(list, "the queue cannot write to its disk, and refuses writes until it can: free space there; the log says which file and why")
	}
	for _, m := range st.Missing {
		if m.Step != sandbox.StepNamespaces {
			list = append(list, fmt.Sprintf("the queue's process %s; `crawlbox install manager` writes a unit that allows that", m))
		}
	}
	return list
}
