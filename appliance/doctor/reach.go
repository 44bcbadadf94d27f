package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// dialTimeout bounds one try of a port. What is dropped is known by it.
const dialTimeout = 2 * time.Second

// Try is how a connection to a TCP port went.
type Try struct {
	Port  uint16 `json:"port"`
	Error string `json:"error,omitempty"` // why there was none
}

// Dial connects to the ports of a machine and hangs up, all at once.
func Dial(ctx context.Context, host netip.Addr, ports []uint16) []Try {
	tries := make([]Try, len(ports))
	var group errgroup.Group
	for i, port := range ports {
		group.Go(func() error {
			tries[i] = Try{Port: port}
			if err := connect(ctx, netip.AddrPortFrom(host, port)); err != nil {
				tries[i].Error = err.Error()
			}
			return nil
		})
	}
	_ = group.Wait()
	return tries
}

func connect(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	var timeout net.Error
	switch {
	case err == nil:
		return conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it is refused: nothing listens, or a firewall rejects it")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("no answer: a firewall drops it, or the machine is away")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return errors.New("there is no way to it")
	}
	return err
}

// QueueHere looks whether the queue answers on this machine; config is nil where it does not speak TLS.
func QueueHere(ctx context.Context, at netip.AddrPort, config *tls.Config) Finding {
	const check = "queue here"
	if err := askQueue(ctx, at, config); err != nil {
		return wrong(check, Warn, fmt.Sprintf("programs of this machine do not get to the queue at %s: %s", at, err),
			"`crawlbox status` here says why; if it says nothing, look at `journalctl -u crawlbox`")
	}
	return good(check, at.String()+" answers")
}

// askQueue connects, and waits for any answer of the Redis protocol: without a password that is an error.
func askQueue(ctx context.Context, at netip.AddrPort, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if config != nil {
		conn = tls.Client(conn, config)
	}
	var first [1]byte
	_, err = conn.Write([]byte("PING\r\n"))
	if err == nil {
		_, err = conn.Read(first[:])
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no answer within %s", dialTimeout)
	case err != nil:
		return err
	case first[0] != '+' && first[0] != '-':
		return errors.New("what answers there is not the queue")
	}
	return nil
}

// Neighbour is another node, as this node reaches it and is reached by it.
type Neighbour struct {
	Name  string     `json:"name"`
	Role  string     `json:"role"`
	Addr  netip.Addr `json:"addr"`
	Error string     `json:"error,omitempty"` // why it could not be asked; empty: it was
	// it answers that this node was removed from the cluster
	Removed bool  `json:"removed,omitempty"`
	There   []Try `json:"there"` // its ports, from here
	Here    []Try `json:"here"`  // the ports of this node, from there
	// What it says, where it was asked.
	Skew time.Duration `json:"skew_ns"` // how far its clock is ahead
	Seen netip.Addr    `json:"seen"`    // where it sees this node come from
	MTU  int           `json:"mtu"`     // of its network card; 0: not known
}

// Reach looks at what the neighbours reach here and what is reached there. needs are
// this node's.
func Reach(neighbours []Neighbour, needs []Need, self netip.Addr) (list []Finding) {
	if slices.ContainsFunc(neighbours, func(n Neighbour) bool { return n.Removed }) {
		return []Finding{wrong("membership", Bad, "this node was removed from its cluster",
			"run `crawlbox leave` here, or join again with "+naming.JoinAgain)}
	}
	for _, n := range neighbours {
		manager := n.Role == fleet.RoleManager
		if n.Error != "" {
			list = append(list, wrong("ports there", levelOf(manager),
				fmt.Sprintf("%s can't be asked about this node: %s", n.describe(), n.Error),
				"look there with `crawlbox doctor`"))
		}
		there, here := failures(n.There), failures(n.Here)
		for _, why := range slices.Sorted(maps.Keys(there)) {
			ports := there[why]
			vital := manager && (slices.Contains(ports, swarmManagement) || n.Error != "")
			list = append(list, wrong("ports there", levelOf(vital),
				fmt.Sprintf("this node does not reach %s at %s: %s", n.describe(), tcpPorts(ports), why),
				fmt.Sprintf("open them on %s, and in whatever firewall is between; `crawlbox doctor` there names "+
					"the commands", n.Name)))
		}
		for _, why := range slices.Sorted(maps.Keys(here)) {
			ports := here[why]
			vital := slices.ContainsFunc(ports, func(p uint16) bool { return IsVital(needs, p) })
			list = append(list, wrong("ports there", levelOf(vital),
				fmt.Sprintf("%s does not reach this node at %s: %s", n.describe(), tcpPorts(ports), why),
				fmt.Sprintf("if the firewall here lets it through, one between does not, such as a provider's: let "+
					"%s from %s to %s through", tcpPorts(ports), n.Addr, self)))
		}
	}
	names, text := make([]string, 0, len(neighbours)), "reached: "
	for _, n := range neighbours {
		names = append(names, n.Name)
		if len(n.Here) > 0 {
			text = "reached, and reach this node: "
		}
	}
	return orGood(list, "ports there", text+strings.Join(names, ", "))
}

func (n Neighbour) describe() string {
	if n.Name == n.Addr.String() {
		return n.Name
	}
	return fmt.Sprintf("%s (%s)", n.Name, n.Addr)
}

func levelOf(vital bool) Level {
	if vital {
		return Bad
	}
	return Warn
}

// failures returns the ports by the reason why they are not reached.
func failures(tries []Try) map[string][]uint16 {
	list := map[string][]uint16{}
	for _, t := range tries {
		if t.Error != "" {
			list[t.Error] = append(list[t.Error], t.Port)
		}
	}
	return list
}

func tcpPorts(ports []uint16) string {
	slices.Sort(ports)
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(ports), "[]")), "/tcp, ") + "/tcp"
}
