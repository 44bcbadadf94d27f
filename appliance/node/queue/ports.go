package queue

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor"
)

// takenFor is how long a port may be another's before that is a problem: of a crawlbox that was killed the queue's
// process ends a moment later.
const takenFor = 5 * time.Second

// ports are those of this machine at which its own programs and containers look for the queue.
type ports struct {
	log     *slog.Logger
	all     []port
	failing time.Time // since when one can't be had

	mu      sync.Mutex
	problem string
}

// port is one that is open.
type port struct {
	at netip.AddrPort
	net.Listener
}

// open opens a port at those of the addresses at which it is not open yet, and returns what it has opened. What is no
// address of this machine any longer does no harm and stays. Another number closes what was opened before.
func (p *ports) open(number uint16, addrs ...netip.Addr) (opened []net.Listener) {
	if len(p.all) > 0 && p.all[0].at.Port() != number {
		p.close()
	}
	var failed error
	for _, addr := range addrs {
		at := netip.AddrPortFrom(addr, number)
		if slices.ContainsFunc(p.all, func(has port) bool { return has.at == at }) {
			continue
		}
		ln, err := doctor.Listen(at, "queue.port")
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		p.all, opened = append(p.all, port{at, ln}), append(opened, ln)
	}
	p.note(failed)
	return opened
}

// note takes why not all can be had, nil where they can.
func (p *ports) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.failing, p.problem = time.Time{}, ""
		return
	}
	if p.failing.IsZero() {
		p.failing = time.Now()
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if time.Since(p.failing) < takenFor || p.problem == text {
		return
	}
	p.problem = text
	p.log.Warn("this node does not have the queue for all of its own programs", "error", err)
}

// unserved returns why not all can be had, for people; empty: they can.
func (p *ports) unserved() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.problem == "" {
		return ""
	}
	return unreached + p.problem + "; until then services that are deployed are told the manager's address"
}

const unreached = "services of this node do not get to the queue by its name " + Host + ": "

func (p *ports) close() {
	for _, open := range p.all {
		open.Close()
	}
	p.all = nil
	p.note(nil)
}

// bridge is Docker's default network. Its address is where Docker's name host-gateway points, and containers of all
// networks but internal ones reach it.
const bridge = "docker0"

// bridgeAddrs returns that address, none before Docker has made the network.
func bridgeAddrs() (list []netip.Addr) {
	card, err := net.InterfaceByName(bridge)
	if err != nil {
		return nil
	}
	all, _ := card.Addrs()
	for _, a := range all {
		if at, err := netip.ParsePrefix(a.String()); err == nil && at.Addr().Is4() {
			return []netip.Addr{at.Addr()}
		}
	}
	return nil
}
