package sockowner

import (
	"errors"
	"fmt"
	"net/netip"
)

// Holds reports whether process pid has the socket of Holder open, which is the question
// that a Prover answers for several. A process that does not exist holds nothing.
func Holds(pid int, local, remote netip.AddrPort) (bool, error) {
	s, err := findSocket(local, remote)
	if err != nil {
		return false, fmt.Errorf("find the socket of %s to %s: %w", local, remote, err)
	}
	holds, err := hasOpen(pid, s)
	if errors.Is(err, errGone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the open files of process %d: %w", pid, err)
	}
	return holds, nil
}
