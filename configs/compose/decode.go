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

// decode runs compose-go over one service and the definitions it may refer to.
// One at a time, because compose-go stops at the first problem and does not
// know lines.
func (r *serviceReader) decode(s *Service, n *yaml.Node) (project *types.Project, failed *document.Error) {
	// compose-go asserts types that its schema leaves open. Its panic would end
	// a manager that only wants to keep the old state.
	defer func() {
		if v := recover(); v != nil {
			failed = s.problem("", fmt.Sprintf("a value has a type that Compose does not take: %v", v))
		}
	}()
	before := len(r.Errs)
	model := map[string]any{
		"services": map[string]any{s.Name: r.plain(n)},
		"networks": r.mentioned(r.networks, n, "networks"),
		"volumes":  r.mentioned(r.volumes, n, "volumes"),
		"secrets":  r.plain(r.secretsOf(n)),
	}
	if len(r.Errs) > before {
		return nil, r.Errs[before]
	}
	project, err := r.compose(model)
	if err != nil {
		return nil, s.composeError(err)
	}
	s.Compose = project.Services[s.Name]
	return project, nil
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
	o.Interpolate.Substitute = func(text string, find template.Mapping) (string, error) {
		return interpolate(text, lookup(find))
	}
}

// composePlace finds the place that a message of compose-go is about.
var composePlace = regexp.MustCompile(`services\.[^\s:,]+`)

// goNumber is how Go says that a text is no number.
var goNumber = regexp.MustCompile(`strconv\.\w+: parsing ("[^"]*"): (invalid syntax|value out of range)`)

// composeText leaves out what only makes sense for compose-go itself.
func composeText(err error, file string) string {
	text := strings.TrimPrefix(words.OneLine(err.Error()), "validating "+file+": ")
	text = goNumber.ReplaceAllString(text, "$1 is not a number of the right kind")
	for _, noise := range []string{
		": invalid compose project", "error while interpolating ", "failed to cast to expected type: ",
	} {
		text = strings.ReplaceAll(text, noise, "")
	}
	return text
}

// composeError gives an error of compose-go its line.
func (s *Service) composeError(err error) *document.Error {
	text := composeText(err, s.File)
	match := composePlace.FindString(text)
	place := strings.TrimPrefix(strings.TrimPrefix(match, "services."+s.Name), ".")
	text = strings.Replace(text, match, "", 1)
	place = strings.NewReplacer("[]", "", "[", ".", "]", "").Replace(place)
	return s.problem(strings.Trim(place, "."), strings.Trim(text, ": "))
}

// readEnvFiles merges the env_files of a service into its environment.
func (r *serviceReader) readEnvFiles(s *Service, project *types.Project) *document.Error {
	for i, file := range s.Compose.EnvFiles {
		place := fmt.Sprintf("env_file.%d", i)
		r.envFiles = append(r.envFiles, file.Path)
		data, err := document.ReadBounded(file.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !bool(file.Required):
		case err != nil:
			return s.problem(place, "read env_file: "+err.Error())
		case len(data) > document.MaxFile:
			return s.problem(place, file.Path+" is larger than 1 MiB")
		}
		// compose-go would quote what it does not understand, and it may be a password.
		set := func(string) (string, bool) { return "x", true }
		if err := ReadEnv(data, map[string]string{}, set); err != nil {
			return s.problem(place, file.Path+": "+err.Error())
		}
		s.EnvFiles = append(s.EnvFiles, file.Path)
	}
	resolved, err := project.WithServicesEnvironmentResolved(true)
	if err != nil {
		return s.problem("env_file", err.Error())
	}
	s.Compose = resolved.Services[s.Name]
	slices.Sort(s.EnvFiles)
	return nil
}
