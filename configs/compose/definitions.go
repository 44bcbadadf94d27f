package compose

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// definitions checks `networks:`, `volumes:` or `secrets:`, used or not.
func (r *serviceReader) definitions(e document.Entry, known rules) *yaml.Node {
	section, before := r.section(e), len(r.Errs)
	for _, d := range document.Entries(section) {
		if strings.HasPrefix(d.Name, "x-") {
			continue
		}
		if d.Value.Kind != yaml.MappingNode && !document.IsNull(d.Value) {
			r.Addf(d.Line, "%s.%s: want a mapping", e.Name, d.Name)
			continue
		}
		r.checkKeys(d.Value, e.Name+"."+d.Name, known)
		r.checkVariables(d.Value, r.find)
	}
	if section != nil && len(r.Errs) == before {
		r.checkValues(e, section)
	}
	return section
}

// definitionPlace finds the place that a message of compose-go is about.
var definitionPlace = regexp.MustCompile(`(?:networks|volumes|secrets)\.[^\s:,]+`)

// checkValues runs compose-go over all definitions at once: a service brings
// only those that it mentions.
func (r *serviceReader) checkValues(e document.Entry, section *yaml.Node) {
	defer func() { // As in decode.
		if v := recover(); v != nil {
			r.Addf(e.Line, "%s: a value has a type that Compose does not take: %v", e.Name, v)
		}
	}()
	before := len(r.Errs)
	model := map[string]any{e.Name: r.plain(section)}
	if len(r.Errs) > before {
		return
	}
	if _, err := r.compose(model); err != nil {
		text := composeText(err, r.File)
		place := strings.TrimPrefix(definitionPlace.FindString(text), e.Name+".")
		r.Addf(document.LinesOf(section, e.Line).At(place), "%s", text)
	}
}

// mentioned returns the definitions that a service refers to. Each service brings
// its own to compose-go: all of them, for every service, would make the time a
// product of both.
func (r *serviceReader) mentioned(section, service *yaml.Node, kind string) map[string]any {
	found := map[string]any{}
	wanted := r.references(service, kind)
	for _, d := range document.Entries(section) {
		if wanted[d.Name] {
			found[d.Name] = r.plain(d.Value)
		}
	}
	return found
}

// secretsOf returns the secrets, where a service has a build that may use them.
func (r *serviceReader) secretsOf(service *yaml.Node) *yaml.Node {
	if r.secrets == nil || !hasAny(service, "build") {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	return r.secrets
}

// references returns the names below `networks:` or `volumes:` of a service.
func (r *serviceReader) references(service *yaml.Node, kind string) map[string]bool {
	names := map[string]bool{}
	for _, e := range document.Entries(service) {
		if e.Name != kind {
			continue
		}
		for key, item := range children(e.Value) {
			if e.Value.Kind == yaml.MappingNode {
				names[key] = true // networks: {backend: …}
				continue
			}
			names[r.source(item)] = true
		}
	}
	return names
}

// source returns the name in one item of a list: all of `- backend`, the part before
// the colon of `- cache:/cache`, or the source of a mapping.
func (r *serviceReader) source(item *yaml.Node) string {
	for _, e := range document.Entries(item) {
		if e.Name == "source" {
			return r.source(e.Value)
		}
	}
	text, err := interpolate(item.Value, r.find)
	if err != nil {
		return "" // Reported by checkVariables.
	}
	name, _, _ := strings.Cut(text, ":")
	return name
}
