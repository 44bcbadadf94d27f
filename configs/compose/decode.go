package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs/document"
)

// decode runs compose-go over one service and the definitions it may refer to. One at a time,
// because it stops at the first problem. What it does not take, the kinds of keys should have
// refused before, in words.
func (r *serviceReader) decode(s *Service, n *yaml.Node) (project *types.Project) {
	// compose-go asserts types that its schema leaves open. Its panic would end
	// a manager that only wants to keep the old state.
	defer func() {
		if recover() != nil {
			r.fallBack(s.problem("", "a value has a type that Compose does not take"))
			project = nil
		}
	}()
	project, err := r.compose(map[string]any{
		"services": map[string]any{s.Name: plain(n)},
		"networks": r.used("networks"),
		"volumes":  r.used("volumes"),
		"secrets":  r.used("secrets"),
	})
	if err != nil {
		r.fallBack(s.composeError(err))
		return nil
	}
	s.Compose = project.Services[s.Name]
	return project
}

// fallBack reports a problem that has no better words, unless there is another: it may be the same.
func (r *serviceReader) fallBack(err *document.Error) {
	if len(r.Errs) == 0 {
		r.Add(err)
	}
}

func (r *serviceReader) compose(model map[string]any) (*types.Project, error) {
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  r.directory(),
		ConfigFiles: []types.ConfigFile{{Filename: r.File, Config: model}},
		Environment: maps.Clone(r.env),
	}, r.options)
}

// options keep compose-go to decoding: it opens no file, neither for include or
// extends nor for env_file, and does not invent networks.
func (r *serviceReader) options(o *loader.Options) {
	o.SetProjectName("crawlbox", true)
	o.SkipNormalization = true
	o.SkipInclude = true
	o.SkipExtends = true
	o.SkipResolveEnvironment = true
	o.SkipResolveLabels = true
	o.SkipConsistencyCheck = true
	o.Interpolate.Substitute = func(text string, find template.Mapping) (string, error) {
		return interpolate(text, lookup(find))
	}
}

// composePlace finds the place that a message of compose-go is about.
var composePlace = regexp.MustCompile(`services\.[^\s:,]+`)

// composeError gives an error of compose-go its line. Its words are for those who know compose-go.
func (s *Service) composeError(err error) *document.Error {
	place := strings.TrimPrefix(strings.TrimPrefix(composePlace.FindString(err.Error()), "services."+s.Name), ".")
	place = strings.NewReplacer("[]", "", "[", ".", "]", "").Replace(place)
	return s.problem(strings.Trim(place, "."), "Compose does not take this value")
}

// readEnvFiles merges the env_files of a service into its environment.
func (r *serviceReader) readEnvFiles(s *Service, project *types.Project) (ok bool) {
	ok = true
	for i, file := range s.Compose.EnvFiles {
		r.envFiles = append(r.envFiles, file.Path)
		if reason := checkEnvFile(file); reason != "" {
			r.Add(s.problem(fmt.Sprintf("env_file.%d", i), reason))
			ok = false
			continue
		}
		s.EnvFiles = append(s.EnvFiles, file.Path)
	}
	if !ok {
		return false
	}
	resolved, err := project.WithServicesEnvironmentResolved(true)
	if err != nil {
		r.Add(s.problem("env_file", "Compose does not understand it"))
		return false
	}
	s.Compose = resolved.Services[s.Name]
	slices.Sort(s.EnvFiles)
	for _, name := range slices.Sorted(maps.Keys(s.Compose.Environment)) {
		if text := s.Compose.Environment[name]; text != nil && !IsTemplate(*text) {
			r.Add(s.problem("env_file", fmt.Sprintf("a {{ in %s begins one of Swarm's templates, and this is none: %s",
				name, words.BracesRemedy)))
			ok = false
		}
	}
	return ok
}

// checkEnvFile says what is wrong with an env_file, if anything is.
func checkEnvFile(file types.EnvFile) string {
	data, err := document.ReadBounded(file.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if file.Required {
			return fmt.Sprintf("there is no file %s; write `required: false` if that is meant", file.Path)
		}
		return ""
	case err != nil:
		return "it cannot be read: " + err.Error()
	case len(data) > document.MaxFile:
		return file.Path + " is larger than 1 MiB"
	}
	// compose-go would quote what it does not understand, and it may be a password.
	set := func(string) (string, bool) { return "x", true }
	if err := ReadEnv(data, map[string]string{}, set); err != nil {
		return file.Path + ": " + err.Error()
	}
	return ""
}
