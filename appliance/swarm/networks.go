package swarm

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// BridgeNetwork is the network that Docker makes for a swarm, and leaves behind
// when it leaves the swarm.
const BridgeNetwork = "docker_gwbridge"

func (e *Engine) HasNetwork(ctx context.Context, name string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := e.cli.NetworkInspect(ctx, name, network.InspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, e.explain(err)
}

// RemoveNetwork removes a network of this engine, and the endpoints in it of containers
// that are no longer there: Docker keeps some when its machine loses power, and takes
// a moment for those of a swarm that it has left. A network that is not there is no error.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.explain(insist(ctx, func(ctx context.Context) error {
		err := e.cli.NetworkRemove(ctx, name)
		if err != nil && outcomeOf(err) == soon && !e.dropEndpoints(ctx, name) {
			return fmt.Errorf("containers that are not of a swarm use the network %s; remove them first", name)
		}
		return err
	}))
}

// dropEndpoints takes endpoints out of a network, and reports whether it may be free of
// them soon: none is of a container that is there.
func (e *Engine) dropEndpoints(ctx context.Context, name string) bool {
	n, err := e.cli.NetworkInspect(ctx, name, network.InspectOptions{})
	if err != nil {
		return cerrdefs.IsNotFound(err)
	}
	for id, endpoint := range n.Containers {
		if _, err := e.cli.ContainerInspect(ctx, id); !cerrdefs.IsNotFound(err) {
			return false
		}
		_ = e.cli.NetworkDisconnect(ctx, name, endpoint.Name, true) // Docker may have ended it meanwhile
	}
	return true
}
