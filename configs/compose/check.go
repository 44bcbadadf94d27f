package compose

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"github.com/crawlbox/crawlbox/configs/document"
)

// LabelPrefix begins the labels that crawlbox keeps for itself.
const LabelPrefix = "crawlbox."

// hostMode is the only network mode, and the default.
const hostMode = "host"

// check reports the first value that Compose takes and crawlbox cannot honour.
func (s *Service) check() *document.Error {
	for _, check := range []func() *document.Error{
		s.checkQueueURL, s.checkImage, s.checkBuild, s.checkNetworks, s.checkMounts, s.checkLabels, s.checkDeploy,
		s.checkRest,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) checkImage() *document.Error {
	image := s.Compose.Image
	if image == "" && s.Compose.Build == nil {
		return s.problem("", "has no image: name one with `image:`, or a directory with `build:`")
	}
	if image == "" {
		return nil
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return s.problem("image", fmt.Sprintf("%q does not name an image: %v", image, err))
	}
	return nil
}

func (s *Service) checkNetworks() *document.Error {
	if mode := s.Compose.NetworkMode; mode != "" && mode != hostMode {
		return s.problem("network_mode", fmt.Sprintf("%q: only host is supported; name others below networks", mode))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		network, attach := s.Networks[key], s.Compose.Networks[key]
		if !network.External {
			return s.problem("networks."+key, createFirst)
		}
		if network.Name == hostMode && (len(s.Networks) > 1 || attach != nil && len(attach.Aliases) > 0) {
			return s.problem("networks."+key, "the host's network excludes other networks and aliases")
		}
	}
	return nil
}

func (s *Service) checkMounts() *document.Error {
	for i, m := range s.Compose.Volumes {
		place := fmt.Sprintf("volumes.%d", i)
		switch m.Type {
		case types.VolumeTypeBind, types.VolumeTypeVolume, types.VolumeTypeTmpfs:
		default:
			return s.problem(place, fmt.Sprintf("the type %q is not supported: use bind, volume or tmpfs", m.Type))
		}
		if !strings.HasPrefix(m.Target, "/") {
			return s.problem(place, fmt.Sprintf("the target %q is not an absolute path", m.Target))
		}
		if m.Type == types.VolumeTypeBind && !strings.HasPrefix(m.Source, "/") {
			return s.problem(place, fmt.Sprintf("the source %q of a bind is not an absolute path", m.Source))
		}
		if m.Type == types.VolumeTypeTmpfs && m.Source != "" {
			return s.problem(place, "a tmpfs has no source")
		}
		if m.Bind != nil && m.Bind.SELinux != "" {
			return s.problem(place, "Swarm does not set SELinux labels; remove :z or :Z")
		}
	}
	return nil
}

func (s *Service) checkLabels() *document.Error {
	places := map[string]types.Labels{"labels": s.Compose.Labels}
	if s.Compose.Deploy != nil {
		places["deploy.labels"] = s.Compose.Deploy.Labels
	}
	for place, labels := range places {
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			if strings.HasPrefix(name, LabelPrefix) {
				return s.problem(place+"."+name, "crawlbox keeps labels that begin with crawlbox. for itself")
			}
		}
	}
	return nil
}

func (s *Service) checkRest() *document.Error {
	for _, server := range s.Compose.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return s.problem("dns", fmt.Sprintf("%q is not an IP address", server))
		}
	}
	for host, addrs := range s.Compose.ExtraHosts {
		for _, addr := range addrs {
			if _, err := netip.ParseAddr(addr); err != nil {
				return s.problem("extra_hosts", fmt.Sprintf("%q for %s is not an IP address", addr, host))
			}
		}
	}
	if grace := s.Compose.StopGracePeriod; grace != nil && *grace < 0 {
		return s.problem("stop_grace_period", "a duration is not negative")
	}
	return nil
}
