package source

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// entries lists the names that say which of several scripts is run.
var entries = []string{"main.py", "spider.py", "app.py"}

func (s *Source) isPython() bool {
	return s.has("requirements.txt") || s.has("pyproject.toml") || len(s.scripts()) > 0
}

// scripts returns the top Python files that could be run.
func (s *Source) scripts() []string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(s.Dir), "*.py")) // the pattern is a good one
	var names []string
	for _, f := range found {
		if n := filepath.Base(f); n != "setup.py" && n != "conftest.py" {
			names = append(names, n)
		}
	}
	return names
}

func (s *Source) python(o Options) (string, error) {
	script, err := s.entry()
	if err != nil {
		return "", err
	}
	r, err := s.pip(o)
	r.cmd = []string{"python3", script} // Debian and others have no other name of it
	return r.dockerfile(), err
}

func (s *Source) entry() (string, error) {
	scripts := s.scripts()
	for _, e := range entries {
		if slices.Contains(scripts, e) {
			return e, nil
		}
	}
	switch len(scripts) {
	case 1:
		return scripts[0], nil
	case 0:
		return "", fmt.Errorf("%s has no main.py, spider.py, app.py or other *.py file to run; write a "+
			"Dockerfile there", s.Dir)
	}
	return "", fmt.Errorf("%s has %s, and none is main.py, spider.py or app.py; rename the one to run, or write a "+
		"Dockerfile there", s.Dir, strings.Join(scripts, ", "))
}

// pipEnv are settings of pip, as variables because an old pip does not mind one
// that it does not know. Debian's refuses to install where its own packages are,
// root is right in a container, and the question for a newer pip takes seconds
// where no answer comes.
const pipEnv = " PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1"

// pip returns the recipe of a Python project except for its command. also are packages
// that are needed whether or not the project says so.
func (s *Source) pip(o Options, also ...string) (recipe, error) {
	r := recipe{base: or(o.Base, "python:3-slim"), args: o.Args, env: "PYTHONUNBUFFERED=1"}
	const pip = "pip install --no-cache-dir"
	if s.has("requirements.txt") {
		req, err := s.read("requirements.txt")
		if err != nil {
			return r, err
		}
		also = missing(strings.Split(req, "\n"), also)
		r.manifests, r.whole = []string{"requirements.txt"}, namesFiles.MatchString(req)
		r.install = strings.Join(append([]string{pip, "-r requirements.txt"}, also...), " ")
		r.env += pipEnv
		return r, nil
	}
	need, err := s.pyproject()
	if need = append(need, missing(need, also)...); len(need) > 0 {
		r.install = argv(append(strings.Fields(pip), need...))
		r.env += pipEnv
	}
	return r, err
}

// namesFiles matches lines of a requirements.txt that lead to other files of
// the directory: -r, -c, -e, -f and paths.
var namesFiles = regexp.MustCompile(
	`(?m)^\s*(-r|-c|-e|-f|--requirement|--constraint|--editable|--find-links|\.{0,2}/|\.\s*$|\.\[|\S+\s*@\s*file:)`)

// pyproject returns the packages that the standard table of pyproject.toml
// lists. The project itself is not installed: it runs from its directory.
func (s *Source) pyproject() ([]string, error) {
	text, err := s.read("pyproject.toml")
	if err != nil {
		return nil, err
	}
	var p struct {
		Project struct{ Dependencies []string }
		Tool    struct {
			Poetry struct{ Dependencies map[string]any }
		}
	}
	if err := toml.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(s.Dir, "pyproject.toml"), err)
	}
	if len(p.Project.Dependencies) == 0 && len(p.Tool.Poetry.Dependencies) > 0 {
		return nil, fmt.Errorf("%s lists its packages for poetry only; run `poetry export -o requirements.txt`, or "+
			"write a Dockerfile there", filepath.Join(s.Dir, "pyproject.toml"))
	}
	return p.Project.Dependencies, nil
}

func missing(requirements, want []string) (out []string) {
	for _, w := range want {
		named := regexp.MustCompile(`(?i)^\s*` + regexp.QuoteMeta(w) + `\s*($|[^\w.-])`)
		if !slices.ContainsFunc(requirements, named.MatchString) {
			out = append(out, w)
		}
	}
	return out
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
