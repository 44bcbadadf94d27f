package access

import (
	"net/http"
	"net/netip"
)

// Right says what a client may do.
type Right uint8

// The rights, each with all before it.
const (
	None Right = iota
	Read
	Write
)

func wanted(r *http.Request) Right {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return Read
	}
	return Write
}

// party is a client that has proved its identity.
type party struct {
	Account string     `json:"a,omitempty"` // name of an account
	Issue   string     `json:"i,omitempty"` // which of the account's passwords it was
	Node    netip.Addr `json:"n,omitzero"`  // or the address of a node
	Right   Right      `json:"r"`
}

// String returns "account NAME" or "node ADDRESS".
func (p party) String() string {
	if p.Account != "" {
		return "account " + p.Account
	}
	return "node " + p.Node.String()
}

// address returns the address at the other end, invalid where it is not known.
func address(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
