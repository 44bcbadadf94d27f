// Package compose reads the services of the config file: `services:`, `networks:`,
// `volumes:` and `secrets:`, which are Compose syntax.
//
// They go through compose-go and not through viper, which folds the case of keys and
// would ruin the names of environment variables. They are read strictly: a key that
// Swarm or crawlbox cannot honour is refused with its line and the reason, because a
// key that is silently dropped shows only in production.
//
// compose-go stops at the first problem, knows no lines and has words for those who
// know its code. So each key has a kind, which says of all its values what is wrong
// with them; that is left out, and the rest looked at. What is left is what
// compose-go takes, one service at a time.
package compose

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs/document"
)

// Service is one entry of `services:`, with variables replaced, relative paths
// made absolute and env_files merged into the environment.
type Service struct {
	Name    string
	Compose types.ServiceConfig
	// Volumes, Networks and Secrets are the definitions that the service refers to, by
	// the key it uses for them. Volumes and Networks have their Name.
	Volumes  map[string]types.VolumeConfig
	Networks map[string]types.NetworkConfig
	Secrets  map[string]types.SecretConfig // of its build
	// Autoscale has the replicas follow a queue; nil: they do not.
	Autoscale *scalerule.Rule
	// Hash changes when, and only when, what the service means changes, except for its
	// build: that takes effect when it is deployed. It is SHA-256 in hexadecimal.
	Hash string
	// File and Line are where the definition begins.
	File string
	Line int
	// EnvFiles lists the absolute paths whose content went into the environment.
	EnvFiles []string

	lines document.Lines
}

// Errorf returns an [*document.Error] about one place of the service, such as
// "deploy.replicas", or about the whole of it when place is empty.
func (s Service) Errorf(place, format string, args ...any) error {
	return s.problem(place, fmt.Sprintf(format, args...))
}

func (s Service) problem(place, reason string) *document.Error {
	name := "services." + s.Name
	if place != "" {
		name += "." + place
	}
	line := s.Line
	if s.lines != nil {
		line = s.lines.At(place)
	}
	return &document.Error{File: s.File, Line: line, Reason: words.OneLine(name + ": " + reason)}
}

// Replicas returns how many tasks the definition asks for; 1 when it does not say.
// It means nothing for the global modes.
func (s Service) Replicas() int { return s.Compose.GetScale() }

// The modes of deploy.mode.
const (
	ModeReplicated    = "replicated"
	ModeGlobal        = "global"
	ModeReplicatedJob = "replicated-job"
	ModeGlobalJob     = "global-job"
)

// Mode returns deploy.mode; replicated when the definition does not say.
func (s Service) Mode() string {
	if s.Compose.Deploy == nil || s.Compose.Deploy.Mode == "" {
		return ModeReplicated
	}
	return s.Compose.Deploy.Mode
}

// IsJob reports whether the tasks run once and are done.
func (s Service) IsJob() bool { return strings.HasSuffix(s.Mode(), "-job") }

// HasFailureAction reports whether the definition itself decides what becomes of
// an update whose tasks end.
func (s Service) HasFailureAction() bool {
	d := s.Compose.Deploy
	return d != nil && d.UpdateConfig != nil && d.UpdateConfig.FailureAction != ""
}

func (s Service) isGlobal() bool { return strings.HasPrefix(s.Mode(), ModeGlobal) }

// Read returns the `services:` of a document, sorted by name, and the files
// that they name in env_file, also where something is wrong with them. A service with
// a problem is left out, and its problem reported.
//
// With checking it also looks whether the directories are there that images are built from. A
// manager that starts does not need them.
func Read(root *yaml.Node, checking bool, p *document.Problems) (list []Service, envFiles []string) {
	reader := serviceReader{Problems: p, env: environment(), rules: maps.Clone(nestedRules), checking: checking,
		defined: map[string]map[string]*yaml.Node{}}
	reader.rules[""] = maps.Clone(serviceRules)
	reader.rules[""][reservedKey] = rule{is: mappingOrNone}
	maps.Copy(reader.rules, ownRules)
	var services *yaml.Node
	for _, e := range document.Entries(root) {
		switch e.Name {
		case "services":
			services = reader.section(e)
		case "networks", "volumes", "secrets":
			reader.define(e)
		}
	}
	for _, e := range document.Entries(services) {
		if service, ok := reader.read(e); ok {
			list = append(list, service)
		}
	}
	slices.SortFunc(list, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return list, reader.envFiles
}

// serviceReader holds what the services of one file share.
type serviceReader struct {
	*document.Problems
	env      types.Mapping
	rules    map[string]rules
	defined  map[string]map[string]*yaml.Node // without what is wrong with them, by section and name
	checking bool
	envFiles []string // what services name, also those with errors

	// Of the service that is being read.
	service string                     // its full name, such as "services.spider"
	targets map[string]int             // lines of its mounts
	uses    map[string]map[string]bool // the definitions that it refers to
	whole   bool                       // no key of it was left out
}

func environment() types.Mapping {
	env := types.Mapping{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	env[QueueVariable] = QueuePlaceholder
	return env
}

func (r *serviceReader) find(name string) (string, bool) {
	value, ok := r.env[name]
	return value, ok
}

// section returns the value of a top-level key, or nothing.
func (r *serviceReader) section(e document.Entry) *yaml.Node {
	switch {
	case document.IsNull(e.Value):
		return nil
	case e.Value.Kind != yaml.MappingNode:
		r.Addf(e.Line, "%s: must be a mapping with a name for each of the %s, not %s", e.Name, e.Name,
			document.What(e.Value))
		return nil
	}
	return e.Value
}

// read reads one service. What is wrong with one key of it does not keep the others from being
// looked at.
func (r *serviceReader) read(e document.Entry) (Service, bool) {
	before := len(r.Errs)
	s := Service{Name: e.Name, File: r.File, Line: e.Line, lines: document.LinesOf(e.Value, e.Line)}
	switch {
	case e.Name == reservedKey:
		checkReserved(e, r.Problems)
		return Service{}, false
	case strings.HasPrefix(e.Name, "x-"):
		return Service{}, false
	case e.Value.Kind != yaml.MappingNode:
		r.Add(s.problem("", "must be a mapping with at least `image:` or `build:`, not "+document.What(e.Value)))
		return Service{}, false
	}
	if !hasImage(e.Value) {
		r.Add(s.problem("", "has no image: name one with `image:`, or a directory with `build:`"))
	}
	r.targets, r.uses = map[string]int{}, map[string]map[string]bool{}
	r.service = "services." + e.Name
	defer func() { r.service = "" }()
	rest := r.sift(value{node: e.Value, where: r.service, line: e.Line}, r.rules[""])
	r.whole = len(r.Errs) == before
	if err := naming.CheckService(e.Name); err != nil {
		r.Addf(e.Line, "%s", err)
	} else if !r.load(&s, rest) {
		return Service{}, false
	}
	return s, len(r.Errs) == before
}

// hasImage reports whether a service has an image, or a key that was meant for one.
func hasImage(n *yaml.Node) bool {
	keys := []string{"image", "build"}
	return slices.ContainsFunc(document.Entries(n), func(e document.Entry) bool {
		_, known := serviceRules[e.Name]
		return slices.Contains(keys, e.Name) || !known && words.Nearest(e.Name, keys) != ""
	})
}

func hasAny(n *yaml.Node, names ...string) bool {
	return slices.ContainsFunc(document.Entries(n),
		func(e document.Entry) bool { return slices.Contains(names, e.Name) })
}

// load decodes the service and completes it, as far as it can be decoded.
func (r *serviceReader) load(s *Service, n *yaml.Node) bool {
	project := r.decode(s, n)
	if project == nil || !r.readEnvFiles(s, project) {
		return false
	}
	s.Volumes, s.Networks = used(s.Compose, project)
	s.Secrets = usedSecrets(s.Compose.Build, project)
	s.fillArgs(r.find)
	r.readAutoscale(s)
	r.check(s)
	s.canonicalize()
	sum, err := hash(*s)
	if err != nil {
		r.Add(s.problem("", "the definition cannot be written down"))
	}
	s.Hash = sum
	return true
}

// used picks the definitions that a service refers to.
func used(service types.ServiceConfig,
	project *types.Project) (map[string]types.VolumeConfig, map[string]types.NetworkConfig) {
	volumes, networks := map[string]types.VolumeConfig{}, map[string]types.NetworkConfig{}
	for _, mount := range service.Volumes {
		if mount.Type == types.VolumeTypeVolume && mount.Source != "" {
			definition := project.Volumes[mount.Source]
			definition.Name = cmp.Or(definition.Name, mount.Source)
			volumes[mount.Source] = definition
		}
	}
	for name := range service.Networks {
		definition := project.Networks[name]
		definition.Name = cmp.Or(definition.Name, name)
		networks[name] = definition
	}
	return volumes, networks
}

func usedSecrets(build *types.BuildConfig, project *types.Project) map[string]types.SecretConfig {
	secrets := map[string]types.SecretConfig{}
	if build != nil {
		for _, use := range build.Secrets {
			secrets[use.Source] = project.Secrets[use.Source]
		}
	}
	return secrets
}

// directory returns where relative paths in the file start.
func (r *serviceReader) directory() string { return filepath.Dir(r.File) }
