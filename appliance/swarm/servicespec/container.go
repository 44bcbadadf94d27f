package servicespec

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	dockerswarm "github.com/docker/docker/api/types/swarm"
)

func containerSpec(c types.ServiceConfig) *dockerswarm.ContainerSpec {
	spec := &dockerswarm.ContainerSpec{
		Image:           c.Image,
		Labels:          c.Labels,
		Command:         c.Entrypoint, // Docker's API and Compose swap these words.
		Args:            c.Command,
		Hostname:        c.Hostname,
		Env:             environ(c.Environment),
		Dir:             c.WorkingDir,
		User:            c.User,
		Groups:          c.GroupAdd,
		Init:            initProcess(c.Init),
		StopSignal:      c.StopSignal,
		TTY:             c.Tty,
		OpenStdin:       c.StdinOpen,
		ReadOnly:        c.ReadOnly,
		StopGracePeriod: durationOr(c.StopGracePeriod, defaultGrace),
		Healthcheck:     healthcheck(c.HealthCheck),
		Hosts:           hosts(c.ExtraHosts),
		Sysctls:         c.Sysctls,
		CapabilityAdd:   c.CapAdd,
		CapabilityDrop:  dropped(c),
		Ulimits:         ulimits(c.Ulimits),
	}
	if len(c.DNS)+len(c.DNSSearch)+len(c.DNSOpts) > 0 {
		spec.DNSConfig = &dockerswarm.DNSConfig{Nameservers: c.DNS, Search: c.DNSSearch, Options: c.DNSOpts}
	}
	return spec
}

// dropped returns the capabilities that a container does not get. With NET_RAW, which
// Docker gives to all, one on the host's network could listen to whatever goes
// over the host's cards and loopback, such as images on their way to Docker.
func dropped(c types.ServiceConfig) []string {
	said := func(name string) bool {
		name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		return name == "NET_RAW" || name == "ALL"
	}
	if slices.ContainsFunc(slices.Concat(c.CapAdd, c.CapDrop), said) {
		return c.CapDrop
	}
	return append(slices.Clone(c.CapDrop), "CAP_NET_RAW")
}

// initProcess is on by default: a shell as process 1, which a Dockerfile's
// `CMD python3 spider.py` makes, ignores SIGTERM, and every stop would take the
// whole grace period.
func initProcess(wanted *bool) *bool {
	return new(wanted == nil || *wanted)
}

func durationOr(d *types.Duration, fallback time.Duration) *time.Duration {
	if d != nil {
		fallback = time.Duration(*d)
	}
	return &fallback
}

// environ sorts the variables, so that the same definition makes the same spec.
// One without a value takes the image's away.
func environ(env types.MappingWithEquals) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if value := env[name]; value != nil {
			name += "=" + *value
		}
		list = append(list, name)
	}
	return list
}

// hosts are in the order of /etc/hosts, address first, as Swarm wants them.
func hosts(extra types.HostsList) []string {
	var list []string
	for host, addrs := range extra {
		for _, addr := range addrs {
			list = append(list, addr+" "+host)
		}
	}
	slices.Sort(list)
	return list
}

func ulimits(limits map[string]*types.UlimitsConfig) []*container.Ulimit {
	var list []*container.Ulimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		limit := limits[name]
		list = append(list, &container.Ulimit{
			Name: name,
			Soft: int64(cmp.Or(limit.Single, limit.Soft)),
			Hard: int64(cmp.Or(limit.Single, limit.Hard)),
		})
	}
	return list
}

func healthcheck(h *types.HealthCheckConfig) *container.HealthConfig {
	switch {
	case h == nil:
		return nil
	case h.Disable:
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	config := &container.HealthConfig{
		Test:        h.Test,
		Interval:    *durationOr(h.Interval, 0),
		Timeout:     *durationOr(h.Timeout, 0),
		StartPeriod: *durationOr(h.StartPeriod, 0),
	}
	if h.Retries != nil {
		config.Retries = int(*h.Retries)
	}
	return config
}
