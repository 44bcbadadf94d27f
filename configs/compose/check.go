package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/crawlbox/crawlbox/configs/document"
)

// LabelPrefix begins the labels that crawlbox keeps for itself.
const LabelPrefix = "crawlbox."

// hostMode is the only network mode, and the default.
const hostMode = "host"

// check reports values that are good one by one, and not together.
func (r *serviceReader) check(s *Service) {
	for _, check := range []func(*serviceReader, *Service){
		(*serviceReader).checkBuild, (*serviceReader).checkNetworks, (*serviceReader).checkReplicas,
		(*serviceReader).checkJob,
	} {
		check(r, s)
	}
}

func (r *serviceReader) wrong(s *Service, place, format string, args ...any) {
	r.Add(s.problem(place, fmt.Sprintf(format, args...)))
}

// checkBuild reports what of `build:` crawlbox cannot honour.
func (r *serviceReader) checkBuild(s *Service) {
	b := s.Compose.Build
	if b == nil {
		return
	}
	if len(b.Platforms) > 1 {
		r.wrong(s, "build.platforms.1", "an image is built for one platform")
	}
	if !filepath.IsAbs(b.Context) {
		r.wrong(s, "build.context", "%s is not a directory on this machine", document.Quote(b.Context))
		return
	}
	if !r.checking {
		return
	}
	if info, err := os.Stat(b.Context); err != nil || !info.IsDir() {
		r.wrong(s, "build.context", "there is no directory %s on this machine; relative paths begin at %s, where the "+
			"file is", b.Context, r.directory())
	} else if b.Dockerfile != "" {
		dockerfile := b.Dockerfile
		if !filepath.IsAbs(dockerfile) {
			dockerfile = filepath.Join(b.Context, dockerfile)
		}
		if info, err := os.Stat(dockerfile); err != nil || !info.Mode().IsRegular() {
			r.wrong(s, "build.dockerfile", "there is no file %s on this machine; relative paths begin in build.context",
				dockerfile)
		}
	}
}

func (r *serviceReader) checkNetworks(s *Service) {
	if s.Compose.NetworkMode != "" && len(s.Compose.Networks) > 0 {
		r.wrong(s, "network_mode", "it excludes networks; remove one of them")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		network, attach := s.Networks[key], s.Compose.Networks[key]
		switch {
		case !bool(network.External):
			r.wrong(s, "networks."+key, createFirst)
		case network.Name == hostMode && (len(s.Networks) > 1 || attach != nil && len(attach.Aliases) > 0):
			r.wrong(s, "networks."+key, "the host's network excludes other networks and aliases")
		}
	}
}

func (r *serviceReader) checkReplicas(s *Service) {
	d := s.Compose.Deploy
	if d == nil {
		return
	}
	if scale := s.Compose.Scale; scale != nil && d.Replicas != nil && *scale != *d.Replicas {
		r.wrong(s, "scale", "it is %d, and deploy.replicas is %d; remove one of them", *scale, *d.Replicas)
	}
	if !s.isGlobal() {
		return
	}
	if s.Compose.Scale != nil || d.Replicas != nil {
		r.wrong(s, "deploy.mode", "%s runs one task on each node; remove replicas and scale", s.Mode())
	}
	if d.Placement.MaxReplicas > 0 {
		r.wrong(s, "deploy.placement.max_replicas_per_node", "a %s service has one task on each node; remove it",
			s.Mode())
	}
}

func (r *serviceReader) checkJob(s *Service) {
	d := s.Compose.Deploy
	if d == nil || !s.IsJob() {
		return
	}
	if d.UpdateConfig != nil || d.RollbackConfig != nil {
		r.wrong(s, "deploy.mode", "a job is not updated in steps; remove update_config and rollback_config")
	}
	if d.RestartPolicy != nil && d.RestartPolicy.Condition == "any" {
		r.wrong(s, "deploy.restart_policy.condition", "a job ends when its tasks have: use on-failure or none")
	}
}
