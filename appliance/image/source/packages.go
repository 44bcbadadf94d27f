package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// packages is what pip has to install for a Python project.
type packages struct {
	declared bool     // the project says what it needs, be it nothing
	list     string   // file in pip's own format that says so
	text     string   // of list
	project  bool     // the project is installed, and says so then
	named    []string // where it is neither
	note     string   // what does not count
}

// packages finds out what a project needs. A list that is there and that pip can't read is
// refused: the image would be built, and its program would crash on each node.
func (s *Source) packages(script string) (packages, error) {
	for _, list := range []string{"requirements.txt", "requirements.in"} {
		if s.has(list) {
			text, err := s.read(list)
			return packages{declared: true, list: list, text: text}, err
		}
	}
	for _, find := range []func() (packages, error){
		func() (packages, error) { return s.inScript(script) }, s.pyproject, s.setup,
	} {
		if p, err := find(); err != nil || p.declared {
			return p, err
		}
	}
	return packages{}, s.refuseForeign()
}

// foreign are lists of packages that pip does not read, and what makes one of them that it does.
var foreign = []struct{ name, way string }{
	{"Pipfile.lock", "run `pipenv requirements >requirements.txt`"},
	{"Pipfile", "run `pipenv lock && pipenv requirements >requirements.txt`"},
	{"pdm.lock", "run `pdm export --prod -o requirements.txt`"},
	{"poetry.lock", "run `poetry export -o requirements.txt`"},
	{"uv.lock", "run `uv export --no-dev -o requirements.txt`"},
	{"environment.yml", "list what pip has to install in requirements.txt"},
	{"environment.yaml", "list what pip has to install in requirements.txt"},
	{"conda-lock.yml", "list what pip has to install in requirements.txt"},
	{"pixi.toml", "list what pip has to install in requirements.txt"},
}

// forDevelopment matches lists of what only those need who work on the project.
var forDevelopment = regexp.MustCompile(`(?i)dev|test|doc|lint|typ|local|(^|[^a-z])ci([^a-z]|$)`)

// refuseForeign returns an error where a project has a list of packages that was not read.
func (s *Source) refuseForeign() error {
	for _, f := range foreign {
		if s.has(f.name) {
			return fmt.Errorf("%s lists packages, and pip does not read it; %s, or write a Dockerfile there",
				filepath.Join(s.Dir, f.name), f.way)
		}
	}
	for _, pattern := range []string{"requirements/*.txt", "requirements/*.in", "*requirements*.txt"} {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(s.Dir), pattern)) // the patterns are good ones
		found = slices.DeleteFunc(found, func(path string) bool {
			return forDevelopment.MatchString(filepath.Base(path))
		})
		if len(found) == 0 {
			continue
		}
		best := found[max(0, slices.IndexFunc(found, func(path string) bool { return strings.Contains(path, "prod") }))]
		rel, err := filepath.Rel(s.Dir, best)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s lists packages, and no requirements.txt says that the program needs them; write one "+
			"with the line `-r %s`, or a Dockerfile there", best, rel)
	}
	return nil
}

// namesFiles matches lines of a requirements.txt that lead to other files of
// the directory: -r, -c, -e, -f and paths.
var namesFiles = regexp.MustCompile(
	`(?m)^\s*(-r|-c|-e|-f|--requirement|--constraint|--editable|--find-links|\.{0,2}/|\.\s*$|\.\[|\S+\s*@\s*file:)`)

// pyproject returns the packages that pyproject.toml lists. Where it lists them itself the
// project is not installed: it runs from its directory.
func (s *Source) pyproject() (packages, error) {
	path := filepath.Join(s.Dir, "pyproject.toml")
	text, err := s.read("pyproject.toml")
	if err != nil {
		return packages{}, err
	}
	var t struct {
		Project *struct{ Dependencies, Dynamic []string }
		Groups  map[string]any `toml:"dependency-groups"`
		Tool    struct {
			Poetry struct{ Dependencies map[string]any }
		}
	}
	if err := toml.Unmarshal([]byte(text), &t); err != nil {
		return packages{}, fmt.Errorf("read %s: %w", path, unread(err))
	}
	poetry := t.Tool.Poetry.Dependencies
	byPoetry := poetry != nil
	delete(poetry, "python")
	switch p := t.Project; {
	case p != nil && slices.Contains(p.Dynamic, "dependencies"):
		return packages{declared: true, project: true}, nil
	case p != nil && len(p.Dependencies) > 0:
		return packages{declared: true, named: p.Dependencies, note: s.unreadLock()}, nil
	case p != nil && p.Dependencies != nil:
		return packages{declared: true}, nil
	case len(poetry) > 0:
		return packages{}, fmt.Errorf("%s lists its packages for poetry only; run `poetry export -o "+
			"requirements.txt`, or write a Dockerfile there", path)
	case len(t.Groups) > 0:
		return packages{}, fmt.Errorf("%s lists packages in [dependency-groups] only, which are for development; "+
			"list what the program needs as dependencies of [project], `dependencies = []` if that is nothing", path)
	default:
		return packages{declared: p != nil || byPoetry}, nil
	}
}

// locks are files with versions that pip does not know.
var locks = []string{"uv.lock", "pdm.lock", "poetry.lock"}

// unreadLock says for who reads the Dockerfile that a lock file does not count.
func (s *Source) unreadLock() string {
	for _, f := range foreign {
		if slices.Contains(locks, f.name) && s.has(f.name) {
			return "The versions in " + f.name + " do not count; to have them, " + f.way + "."
		}
	}
	return ""
}

// setup returns the packages of a project for setuptools, which only the installation of the
// project itself tells.
func (s *Source) setup() (packages, error) {
	for _, name := range []string{"setup.py", "setup.cfg"} {
		text, err := s.read(name)
		if err != nil {
			return packages{}, err
		}
		if !strings.Contains(text, "install_requires") {
			continue
		}
		if !s.has("setup.py") && !s.has("pyproject.toml") {
			return packages{}, fmt.Errorf("%s lists packages, and pip reads it only beside a setup.py; write one with "+
				"the line `import setuptools; setuptools.setup()`, or a requirements.txt",
				filepath.Join(s.Dir, name))
		}
		return packages{declared: true, project: true}, nil
	}
	return packages{}, nil
}

// scriptTable matches the table that a script has in comments at its top (PEP 723).
var scriptTable = regexp.MustCompile(`(?m)^# /// script\s*\n((?:#(?: .*)?\r?\n)+?)# ///\s*$`)

// inScript returns the packages that a script lists itself.
func (s *Source) inScript(script string) (packages, error) {
	if script == "" {
		return packages{}, nil
	}
	text, err := s.read(script)
	if err != nil {
		return packages{}, err
	}
	m := scriptTable.FindStringSubmatch(text)
	if m == nil {
		return packages{}, nil
	}
	var table strings.Builder
	for line := range strings.Lines(m[1]) {
		table.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	var t struct{ Dependencies []string }
	if err := toml.Unmarshal([]byte(table.String()), &t); err != nil {
		return packages{}, fmt.Errorf("read `# /// script` of %s: %w", filepath.Join(s.Dir, script), unread(err))
	}
	return packages{declared: true, named: t.Dependencies}, nil
}

// unread says where TOML cannot be read, and why.
func unread(err error) error {
	wrong, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return err
	}
	line, _ := wrong.Position()
	err = errors.New(strings.TrimPrefix(err.Error(), "toml: "))
	if strings.HasPrefix(err.Error(), "cannot ") {
		err = wrongKind("a value")
	}
	return fmt.Errorf("line %d: %w", line, err)
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
