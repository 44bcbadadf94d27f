package source

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// recipe is a Dockerfile that installs what code needs in a layer below the
// code, so that an update of three lines pushes a tiny layer. Nothing in it
// needs BuildKit: the engine may have none.
type recipe struct {
	base      string
	args      []string // of the build
	note      string   // for who reads the Dockerfile: what is not taken of the project
	env       string
	manifests []string // files that say what to install
	install   string   // empty if there is nothing to
	whole     bool     // the install reads more of the directory than the manifests
	cmd       []string
}

// dockerfile writes the recipe down.
func (r recipe) dockerfile() string {
	var steps []string
	if r.note != "" {
		steps = append(steps, "# "+r.note)
	}
	steps = append(append(steps, "FROM "+r.base), declare(r.args)...)
	steps = append(steps, "ENV "+r.env, "WORKDIR /app")
	copied := "COPY . ."
	switch {
	case r.install == "":
		steps = append(steps, copied)
	case r.whole:
		steps = append(steps, copied, "RUN "+r.install)
	case len(r.manifests) == 0:
		steps = append(steps, "RUN "+r.install, copied)
	default:
		steps = append(steps, "COPY "+strings.Join(r.manifests, " ")+" ./", "RUN "+r.install, copied)
	}
	return lines(append(steps, "CMD "+argv(r.cmd))...)
}

// predefined matches build arguments that the builder knows without an ARG. Declared,
// proxies would become part of what is cached, and show in the image's history.
var predefined = regexp.MustCompile(`^(?i:https?_proxy|ftp_proxy|no_proxy|all_proxy)$|^BUILDKIT_|^SOURCE_DATE_EPOCH$`)

// declare makes build arguments known to the steps of a stage.
func declare(args []string) (steps []string) {
	for _, a := range args {
		if !predefined.MatchString(a) {
			steps = append(steps, "ARG "+a)
		}
	}
	return steps
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

// argv writes a command so that no shell stands between Docker and it: the
// program gets the signals itself.
func argv(cmd []string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(cmd) // strings and a buffer: neither fails
	return strings.TrimSpace(b.String())
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
