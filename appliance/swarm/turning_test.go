package swarm

import (
	"errors"
	"testing"
)

// TestExplain_Turning says in words what Docker says of a manager that is just demoted, and takes it for no worker yet.
func TestExplain_Turning(t *testing.T) {
	t.Parallel()
	err := (&Engine{}).explain(errors.New(`Error response from daemon: connection error: desc = "transport: Error ` +
		`while dialing dial unix /var/run/docker/swarm/control.sock: connect: no such file or directory"`))
	if !errors.Is(err, errTurning) || errors.Is(err, ErrNotManager) {
		t.Errorf("got %v", err)
	}
}
