package swarm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// ownConfigs begin the names of configs in which crawlbox keeps what is of this swarm alone.
const ownConfigs = "crawlbox."

// Objects returns what is in the swarm beside its nodes and tasks, each kind by name.
func (e *Engine) Objects(ctx context.Context) (o fleet.Objects, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	services, err := e.cli.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return o, e.explain(err)
	}
	for _, s := range services {
		o.Services = append(o.Services, objectOf(s.ID, s.Spec.Name, s.Spec))
	}
	ofSwarm := filters.NewArgs(filters.Arg("scope", "swarm"))
	networks, err := e.cli.NetworkList(ctx, network.ListOptions{Filters: ofSwarm})
	if err != nil {
		return o, e.explain(err)
	}
	for _, n := range networks {
		if !n.Ingress {
			o.Networks = append(o.Networks, objectOf(n.ID, n.Name, networkSpec(n)))
		}
	}
	configs, err := e.cli.ConfigList(ctx, swarm.ConfigListOptions{})
	if err != nil {
		return o, e.explain(err)
	}
	for _, c := range configs {
		if !strings.HasPrefix(c.Spec.Name, ownConfigs) {
			o.Configs = append(o.Configs, objectOf(c.ID, c.Spec.Name, c.Spec))
		}
	}
	secrets, err := e.cli.SecretList(ctx, swarm.SecretListOptions{})
	if err != nil {
		return o, e.explain(err)
	}
	for _, s := range secrets {
		o.Secrets = append(o.Secrets, s.Spec.Name)
	}
	for _, list := range [][]fleet.Object{o.Services, o.Networks, o.Configs} {
		slices.SortFunc(list, func(a, b fleet.Object) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.Sort(o.Secrets)
	return o, nil
}

func objectOf(id, name string, spec any) fleet.Object {
	text, _ := json.Marshal(spec) // it came as JSON
	return fleet.Object{ID: id, Name: name, Spec: text}
}

// networkSpec returns what makes a network of the swarm again, with the addresses that it has.
func networkSpec(n network.Inspect) network.CreateOptions {
	ipam := n.IPAM
	delete(n.Options, "com.docker.network.driver.overlay.vxlanid_list") // which Swarm chooses
	return network.CreateOptions{
		Driver:     n.Driver,
		Scope:      n.Scope,
		EnableIPv6: &n.EnableIPv6,
		IPAM:       &ipam,
		Internal:   n.Internal,
		Attachable: n.Attachable,
		Options:    n.Options,
		Labels:     n.Labels,
	}
}

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
