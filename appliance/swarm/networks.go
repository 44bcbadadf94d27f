package swarm

import (
	"context"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
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
	for {
		err := e.cli.NetworkRemove(ctx, name)
		switch {
		case cerrdefs.IsNotFound(err):
			return nil
		case !cerrdefs.IsPermissionDenied(err), !e.dropEndpoints(ctx, name): // not for endpoints, or in use
			return e.explain(err)
		}
		if clock.Sleep(ctx, 500*time.Millisecond) != nil {
			return e.explain(err)
		}
	}
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
