package swarm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
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
	names := map[string]string{}
	for _, s := range services {
		if strings.HasPrefix(s.Spec.Name, fleet.OwnServices) || s.Spec.Labels[fleet.LabelRun] != "" {
			continue // crawlbox makes them anew, or they are over where a cluster is restored
		}
		if err := e.nameNetworks(ctx, &s.Spec, names); err != nil {
			return o, err
		}
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
		if !strings.HasPrefix(s.Spec.Name, fleet.OwnServices) {
			o.Secrets = append(o.Secrets, s.Spec.Name)
		}
	}
	for _, list := range [][]fleet.Object{o.Services, o.Networks, o.Configs} {
		slices.SortFunc(list, func(a, b fleet.Object) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.Sort(o.Secrets)
	return o, nil
}

// nameNetworks names networks that a service is in by their names, of which those that were looked for
// are in names. Their IDs are another swarm's of no use, also that of host. The error is of one that cannot be
// looked up now: a network in use is there, but Docker says that it is not while its swarm has no leader.
func (e *Engine) nameNetworks(ctx context.Context, spec *swarm.ServiceSpec, names map[string]string) error {
	//lint:ignore SA1019 services that were made by older versions have them there
	for _, list := range [][]swarm.NetworkAttachmentConfig{spec.TaskTemplate.Networks, spec.Networks} {
		for i, n := range list {
			if names[n.Target] == "" {
				is, err := e.cli.NetworkInspect(ctx, n.Target, network.InspectOptions{})
				if err != nil {
					return fmt.Errorf("look up a network of service %s: %w", spec.Name, e.explain(err))
				}
				names[n.Target] = is.Name
			}
			list[i].Target = names[n.Target]
		}
	}
	return nil
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

// Remake makes what is not there of networks, configs and services that another swarm had, by their
// names. Services are told where the queue is now, if they knew. The error says what could not be made:
// the rest is there.
func (e *Engine) Remake(ctx context.Context, was fleet.Objects, queue servicespec.Queue) error {
	is, err := e.Objects(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range missing(was.Networks, is.Networks) {
		errs = append(errs, e.remake(ctx, "network", n, func(ctx context.Context) error {
			var spec network.CreateOptions
			if err := json.Unmarshal(n.Spec, &spec); err != nil {
				return err
			}
			_, err := e.cli.NetworkCreate(ctx, n.Name, spec)
			return err
		}))
	}
	for _, c := range missing(was.Configs, is.Configs) {
		errs = append(errs, e.remake(ctx, "config", c, func(ctx context.Context) error {
			var spec swarm.ConfigSpec
			if err := json.Unmarshal(c.Spec, &spec); err != nil {
				return err
			}
			_, err := e.cli.ConfigCreate(ctx, spec)
			return err
		}))
	}
	ids, err := e.ids(ctx)
	if err != nil {
		return err
	}
	for _, s := range missing(was.Services, is.Services) {
		errs = append(errs, e.remake(ctx, "service", s, func(ctx context.Context) error {
			spec, err := ids.service(s, queue)
			if err != nil {
				return err
			}
			_, err = e.cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
			return err
		}))
	}
	return errors.Join(errs...)
}

func (e *Engine) remake(ctx context.Context, kind string, o fleet.Object, do func(context.Context) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := e.explain(do(ctx)); err != nil {
		return fmt.Errorf("%s %s: %w", kind, o.Name, err)
	}
	return nil
}

// missing returns the objects whose names none of others has.
func missing(all, others []fleet.Object) []fleet.Object {
	return slices.DeleteFunc(slices.Clone(all), func(o fleet.Object) bool {
		return slices.ContainsFunc(others, func(other fleet.Object) bool { return other.Name == o.Name })
	})
}

// newIDs are those that configs and secrets have in the swarm of now, by their names and by themselves.
type newIDs struct{ configs, secrets map[string]string }

func (e *Engine) ids(ctx context.Context) (ids newIDs, err error) {
	ids = newIDs{map[string]string{}, map[string]string{}}
	ctx, cancel := bounded(ctx)
	defer cancel()
	configs, err := e.cli.ConfigList(ctx, swarm.ConfigListOptions{})
	if err != nil {
		return ids, e.explain(err)
	}
	for _, c := range configs {
		ids.configs[c.Spec.Name], ids.configs[c.ID] = c.ID, c.ID
	}
	secrets, err := e.cli.SecretList(ctx, swarm.SecretListOptions{})
	for _, s := range secrets {
		ids.secrets[s.Spec.Name], ids.secrets[s.ID] = s.ID, s.ID
	}
	return ids, e.explain(err)
}

// refer gives a service that was once, maybe in another swarm, the IDs that its configs and secrets have now.
func (ids newIDs) refer(spec *swarm.ServiceSpec) error {
	c := spec.TaskTemplate.ContainerSpec
	if c == nil {
		return nil
	}
	for _, ref := range c.Configs {
		if ref.ConfigID = cmp.Or(ids.configs[ref.ConfigID], ids.configs[ref.ConfigName]); ref.ConfigID == "" {
			return fmt.Errorf("its config %s is not there; make it again with `docker config create %[1]s FILE`",
				ref.ConfigName)
		}
	}
	for _, ref := range c.Secrets {
		if ref.SecretID = cmp.Or(ids.secrets[ref.SecretID], ids.secrets[ref.SecretName]); ref.SecretID == "" {
			return fmt.Errorf("Docker does not give secrets back; make its secret again with `docker secret "+
				"create %s -`", ref.SecretName)
		}
	}
	return nil
}

// service returns the spec of a service for the swarm of now.
func (ids newIDs) service(o fleet.Object, queue servicespec.Queue) (spec swarm.ServiceSpec, err error) {
	if err := json.Unmarshal(o.Spec, &spec); err != nil {
		return spec, err
	}
	if err := ids.refer(&spec); err != nil {
		return spec, err
	}
	before, err := servicespec.PlainOf(spec)
	if err != nil {
		return spec, err
	}
	return spec, servicespec.Deployment{Queue: &queue}.TellQueue(&spec, before)
}
