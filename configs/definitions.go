package configs

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// definitions checks `networks:`, `volumes:` or `secrets:`, used or not.
func (r *serviceReader) definitions(e entry, known rules) *yaml.Node {
	section, before := r.section(e), len(r.errs)
	for _, d := range entries(section) {
		if strings.HasPrefix(d.name, "x-") {
			continue
		}
		if d.value.Kind != yaml.MappingNode && !isNull(d.value) {
			r.addf(d.line, "%s.%s: want a mapping", e.name, d.name)
			continue
		}
		r.checkKeys(d.value, e.name+"."+d.name, known)
		r.checkVariables(d.value, r.find)
	}
	if section != nil && len(r.errs) == before {
		r.checkValues(e, section)
	}
	return section
}

// definitionPlace finds the place that a message of compose-go is about.
var definitionPlace = regexp.MustCompile(`(?:networks|volumes|secrets)\.[^\s:,]+`)

// checkValues runs compose-go over all definitions at once: a service brings
// only those that it mentions.
func (r *serviceReader) checkValues(e entry, section *yaml.Node) {
	defer func() { // As in decode.
		if v := recover(); v != nil {
			r.addf(e.line, "%s: a value has a type that Compose does not take: %v", e.name, v)
		}
	}()
	before := len(r.errs)
	model := map[string]any{e.name: r.plain(section)}
	if len(r.errs) > before {
		return
	}
	if _, err := r.compose(model); err != nil {
		text := composeText(err, r.file)
		place := strings.TrimPrefix(definitionPlace.FindString(text), e.name+".")
		r.addf(lineAt(linesOf(section, e.line), place), "%s", text)
	}
}

// mentioned are the definitions that a service refers to. Each service brings
// its own to compose-go: all of them, for every service, would make the time a
// product of both.
func (r *serviceReader) mentioned(section, service *yaml.Node, kind string) map[string]any {
	found := map[string]any{}
	wanted := r.references(service, kind)
	for _, d := range entries(section) {
		if wanted[d.name] {
			found[d.name] = r.plain(d.value)
		}
	}
	return found
}

// secretsOf are the secrets, where a service has a build that may use them.
func (r *serviceReader) secretsOf(service *yaml.Node) *yaml.Node {
	if r.secrets == nil || !hasAny(service, "build") {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	return r.secrets
}

// references are the names below `networks:` or `volumes:` of a service.
func (r *serviceReader) references(service *yaml.Node, kind string) map[string]bool {
	names := map[string]bool{}
	for _, e := range entries(service) {
		if e.name != kind {
			continue
		}
		for key, item := range children(e.value) {
			if e.value.Kind == yaml.MappingNode {
				names[key] = true // networks: {backend: …}
				continue
			}
			names[r.source(item)] = true
		}
	}
	return names
}

// source is the name in one item of a list: all of `- backend`, the part before
// the colon of `- cache:/cache`, or the source of a mapping.
func (r *serviceReader) source(item *yaml.Node) string {
	for _, e := range entries(item) {
		if e.name == "source" {
			return r.source(e.value)
		}
	}
	text, err := interpolate(item.Value, r.find)
	if err != nil {
		return "" // Reported by checkVariables.
	}
	name, _, _ := strings.Cut(text, ":")
	return name
}
