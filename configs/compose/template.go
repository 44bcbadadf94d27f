package compose

import (
	"regexp"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

var (
	// swarmFunctions are those of Swarm's templates beside Go's own; see template in swarmkit.
	swarmFunctions = template.FuncMap{"join": strings.Join}
	// field matches what a template begins with that shows a value.
	field = regexp.MustCompile(`\{\{-?\s*\.(\w+)`)
)

// IsTemplate reports whether Swarm can read a text in which it replaces templates such as
// {{.Node.Hostname}}. It is not carried out: that may have no end.
func IsTemplate(text string) bool {
	if !strings.Contains(text, "{{") {
		return true
	}
	if _, err := template.New("").Funcs(swarmFunctions).Parse(text); err != nil {
		return false
	}
	for _, m := range field.FindAllStringSubmatch(text, -1) {
		if m[1] != "Service" && m[1] != "Node" && m[1] != "Task" {
			return false
		}
	}
	return true
}

// braces reports a text that Swarm would take for a template of its own, and that is none. It may
// be secret, and is not quoted.
func (r *serviceReader) braces(v value, said string) (good bool) {
	if good = IsTemplate(said); !good {
		r.Addf(v.line, "%s: a {{ here begins one of Swarm's templates, and this is none: %s", v.where,
			words.BracesRemedy)
	}
	return good
}

// templated is a text in which Swarm replaces templates.
func templated(r *serviceReader, v value) *yaml.Node {
	if text(r, v) == nil || !r.braces(v, v.node.Value) {
		return nil
	}
	return v.node
}

// QueueVariable names the cluster's queue in a definition, as ${CRAWLBOX_QUEUE_URL}.
const QueueVariable = "CRAWLBOX_QUEUE_URL"

// QueuePlaceholder stands in an environment for the URL of the queue. Who reads the file
// need not know the password, and another password makes no other definition: the URL
// takes its place when the service is deployed.
const QueuePlaceholder = "{crawlbox:queue-url}"
