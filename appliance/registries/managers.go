package registries

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Manager is another manager.
type Manager struct {
	Name string
	Addr netip.AddrPort // of its port between nodes
}

// String names it for people.
func (m Manager) String() string { return fmt.Sprintf("%s (%s)", m.Name, m.Addr.Addr()) }

// maxConns is how many connections there are to another manager at a time for images. It lets a party have 256, and
// ends the oldest one's for the next: what nodes ask here for and have to be asked there must not end a push, or a
// commit of the cluster's state.
const maxConns = 96

// restTime is how long one is asked last that could not be reached.
const restTime = 10 * time.Second

// managers are the other managers, with those last that could not be reached just now.
type managers struct {
	list   func() []Manager
	client *http.Client

	mu     sync.Mutex
	failed map[string]time.Time // by host and port
}

// newManagers returns managers, and a client that notes which of them can't be reached.
func newManagers(list func() []Manager, client *http.Client) *managers {
	m := &managers{list: list, failed: map[string]time.Time{}}
	noted := *client
	next := client.Transport
	if t, ok := next.(*http.Transport); ok {
		// What was sent has to come to the disk there before the answer.
		slow := t.Clone()
		slow.ResponseHeaderTimeout = answerTime
		slow.MaxConnsPerHost = maxConns
		next = slow
	}
	noted.Transport = noting{next, m}
	m.client = &noted
	return m
}

// noting is a way to managers.
type noting struct {
	http.RoundTripper
	of *managers
}

// RoundTrip implements http.RoundTripper.
func (n noting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(req)
	if err == nil || !errors.Is(req.Context().Err(), context.Canceled) {
		n.of.note(req.URL.Host, err == nil)
	}
	return resp, err
}

// CloseIdleConnections closes those of the client.
func (n noting) CloseIdleConnections() {
	if c, ok := n.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (m *managers) note(host string, reached bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, when := range m.failed {
		if time.Since(when) > restTime {
			delete(m.failed, at)
		}
	}
	if reached {
		delete(m.failed, host)
	} else {
		m.failed[host] = time.Now()
	}
}

// resting reports whether a manager could not be reached just now.
func (m *managers) resting(to Manager) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	when, ok := m.failed[to.Addr.String()]
	return ok && time.Since(when) < restTime
}

// all returns the others, those last that could not be reached just now.
func (m *managers) all() []Manager {
	list := m.list()
	slices.SortStableFunc(list, func(a, b Manager) int {
		switch x, y := m.resting(a), m.resting(b); {
		case x == y:
			return 0
		case x:
			return 1
		}
		return -1
	})
	return list
}

// reachable returns the others that could be reached just now or, where none could, all.
func (m *managers) reachable() []Manager {
	all := m.all()
	up := slices.IndexFunc(all, m.resting)
	if up <= 0 {
		return all
	}
	return all[:up]
}

// at returns the registry of a manager.
func (m *managers) at(to Manager) server {
	return server{client: m.client, base: "https://" + to.Addr.String() + path}
}
