package configs

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
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
	// Hash changes when, and only when, what the service means changes, but for its
	// build: that takes effect when it is deployed. It is SHA-256 in hexadecimal.
	Hash string
	// File and Line are where the definition begins.
	File string
	Line int
	// EnvFiles are the absolute paths whose content went into the environment.
	EnvFiles []string

	lines map[string]int
}

// Errorf returns an [*Error] about one place of the service, such as
// "deploy.replicas", or about the whole of it when place is empty.
func (s Service) Errorf(place, format string, args ...any) error {
	return s.problem(place, fmt.Sprintf(format, args...))
}

func (s Service) problem(place, reason string) *Error {
	name := "services." + s.Name
	if place != "" {
		name += "." + place
	}
	line := s.Line
	if s.lines != nil {
		line = lineAt(s.lines, place)
	}
	return &Error{File: s.File, Line: line, Reason: oneLine(name + ": " + reason)}
}

// Replicas is how many tasks the definition asks for; 1 when it does not say.
// It means nothing for the global modes.
func (s Service) Replicas() int { return s.Compose.GetScale() }

// readServices reads `services:`. A service with a problem is left out, and its
// problem reported.
func readServices(root *yaml.Node, p *problems) []Service {
	reader := serviceReader{problems: p, env: environment()}
	var services *yaml.Node
	for _, e := range entries(root) {
		switch e.name {
		case "services":
			services = reader.section(e)
		case "networks":
			reader.networks = reader.definitions(e, networkRules)
		case "volumes":
			reader.volumes = reader.definitions(e, volumeRules)
		case "secrets":
			reader.secrets = reader.definitions(e, secretRules)
		}
	}
	var list []Service
	for _, e := range entries(services) {
		if service, ok := reader.read(e); ok {
			list = append(list, service)
		}
	}
	slices.SortFunc(list, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// serviceReader holds what the services of one file share.
type serviceReader struct {
	*problems
	env                        types.Mapping
	networks, volumes, secrets *yaml.Node
}

func environment() types.Mapping {
	env := types.Mapping{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return env
}

func (r *serviceReader) find(name string) (string, bool) {
	value, ok := r.env[name]
	return value, ok
}

// section is the value of a top-level key, or nothing.
func (r *serviceReader) section(e entry) *yaml.Node {
	switch {
	case isNull(e.value):
		return nil
	case e.value.Kind != yaml.MappingNode:
		r.addf(e.line, "%s: want a mapping with a name for each of the %s", e.name, e.name)
		return nil
	}
	return e.value
}

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[a-zA-Z0-9]+)*$`)

// maxName is Docker's limit for the name of a service, in characters.
const maxName = 63

func (r *serviceReader) read(e entry) (Service, bool) {
	before := len(r.errs)
	where := "services." + e.name
	switch {
	case e.name == reservedKey:
		r.checkReserved(e)
		return Service{}, false
	case strings.HasPrefix(e.name, "x-"):
		return Service{}, false
	case len(e.name) > maxName || !serviceName.MatchString(e.name):
		r.addf(e.line, "%q cannot name a service: use at most %d letters, digits, - and _", e.name, maxName)
	case e.value.Kind != yaml.MappingNode:
		r.addf(e.line, "%s: want a mapping with at least `image:` or `build:`", where)
	case !hasAny(e.value, "image", "build"):
		r.addf(e.line, "%s: has no image: name one with `image:`, or a folder with `build:`", where)
	default:
		r.checkService(e.value, where)
		r.checkVariables(e.value, r.find)
	}
	if len(r.errs) > before {
		return Service{}, false
	}
	s := Service{Name: e.name, File: r.file, Line: e.line, lines: linesOf(e.value, e.line)}
	if err := r.load(&s, e.value); err != nil {
		r.add(err)
		return Service{}, false
	}
	return s, len(r.errs) == before
}

func hasAny(n *yaml.Node, names ...string) bool {
	return slices.ContainsFunc(entries(n), func(e entry) bool { return slices.Contains(names, e.name) })
}

// load decodes the service and completes it.
func (r *serviceReader) load(s *Service, n *yaml.Node) *Error {
	project, err := r.decode(s, n)
	if err != nil {
		return err
	}
	if err := r.readEnvFiles(s, project); err != nil {
		return err
	}
	s.Volumes, s.Networks = used(s.Compose, project)
	s.Secrets = usedSecrets(s.Compose.Build, project)
	s.fillArgs(r.find)
	if err := s.check(); err != nil {
		return err
	}
	s.canonicalize()
	sum, failed := hash(*s)
	if failed != nil {
		return s.problem("", "hash the definition: "+failed.Error())
	}
	s.Hash = sum
	return nil
}

// used picks the definitions that a service refers to. compose-go has checked
// that they exist.
func used(service types.ServiceConfig, project *types.Project) (map[string]types.VolumeConfig, map[string]types.NetworkConfig) {
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

// EnvFiles are the files, besides File, whose content the configuration depends
// on: absolute, sorted, each once.
func (c Config) EnvFiles() []string {
	var files []string
	for _, s := range c.Services {
		files = append(files, s.EnvFiles...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// folder is where relative paths in the file start.
func (r *serviceReader) folder() string { return filepath.Dir(r.file) }
