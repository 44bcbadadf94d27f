package source

import (
	"bytes"
	"encoding/json"
	"strings"
)

// recipe is a Dockerfile that installs what code needs in a layer below the
// code, so that an update of three lines pushes a tiny layer. Nothing in it
// needs BuildKit.
type recipe struct {
	base      string
	env       string
	manifests []string // files that say what to install
	install   string   // empty if there is nothing to
	whole     bool     // the install reads more of the folder than the manifests
	cmd       []string
}

// dockerfile writes the recipe down.
func (r recipe) dockerfile() string {
	steps := []string{"FROM " + r.base, "ENV " + r.env, "WORKDIR /app"}
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
	return lines(append(steps, "CMD "+words(r.cmd))...)
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

// words writes a command so that no shell stands between Docker and it: the
// program gets the signals itself.
func words(cmd []string) string {
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
