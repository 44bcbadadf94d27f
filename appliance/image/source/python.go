package source

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// entries lists the names that say which of several scripts is run.
var entries = []string{"main.py", "spider.py", "app.py"}

func (s *Source) isPython() bool {
	return s.has("requirements.txt") || s.has("pyproject.toml") || s.has("Pipfile") || len(s.scripts()) > 0
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
	r, err := s.pip(o, script)
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
// that are needed whether or not the project says so; script is what runs, if that is a file.
func (s *Source) pip(o Options, script string, also ...string) (recipe, error) {
	r := recipe{base: or(o.Base, "python:3-slim"), args: o.Args, env: "PYTHONUNBUFFERED=1"}
	need, err := s.packages(script)
	if err != nil {
		return r, err
	}
	r.note = need.note
	named := need.named
	switch {
	case need.list != "":
		named = missing(strings.Split(need.text, "\n"), also)
		r.manifests, r.whole = []string{need.list}, namesFiles.MatchString(need.text)
		r.install = strings.Join(append([]string{pipInstall, "-r " + need.list}, named...), " ")
	case need.project:
		r.whole = true
		r.install = strings.Join(append([]string{pipInstall, "."}, missing(named, also)...), " ")
	default:
		named = append(named, missing(named, also)...)
		if len(named) == 0 {
			return r, nil
		}
		r.install = argv(append(strings.Fields(pipInstall), named...))
	}
	r.env += pipEnv
	return r, nil
}

const pipInstall = "pip install --no-cache-dir"

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
