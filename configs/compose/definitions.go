package compose

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// definitionRules are for the definitions that services refer to, by their sections.
var definitionRules = map[string]rules{"networks": networkRules, "volumes": volumeRules, "secrets": secretRules}

// define reads a section of definitions, used or not. One that is wrong has its name, so that
// whoever refers to it is not wrong too.
func (r *serviceReader) define(e document.Entry) {
	all := map[string]*yaml.Node{}
	r.defined[e.Name] = all
	for _, d := range document.Entries(r.section(e)) {
		v := value{node: d.Value, where: e.Name + "." + d.Name, line: d.Line}
		rest := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: d.Line}
		switch {
		case strings.HasPrefix(d.Name, "x-"):
			continue
		case strings.Trim(d.Name, definitionName) != "" || d.Name == "":
			r.Addf(d.Line, "%s: %s cannot be a name: use letters, digits, dots, - and _", e.Name,
				document.Quote(d.Name))
		case d.Value.Kind == yaml.MappingNode:
			before := len(r.Errs)
			if rest = r.sift(v, definitionRules[e.Name]); len(r.Errs) == before {
				r.checkDefinition(e.Name, v)
			}
		case !document.IsNull(d.Value):
			r.must(v, "a mapping", document.What(d.Value))
		}
		all[d.Name] = rest
	}
}

// definitionName has what names of networks, volumes and secrets consist of in Compose.
const definitionName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// checkDefinition reports keys of a definition that exclude or need each other.
func (r *serviceReader) checkDefinition(section string, v value) {
	var file, environment bool
	for _, e := range document.Entries(v.node) {
		file, environment = file || e.Name == "file", environment || e.Name == "environment"
	}
	switch {
	case section == "secrets" && file == environment:
		r.Addf(v.line, "%s: must have either file or environment", v.where)
	case section == "volumes" && isExternal(v.node) && hasAny(v.node, "driver", "driver_opts", "labels"):
		r.Addf(v.line, "%s: what is external is there, with the driver, the options and the labels that it was made "+
			"with; remove them, or external", v.where)
	}
}

// isExternal reports whether somebody else makes what is defined.
func isExternal(n *yaml.Node) bool {
	return slices.ContainsFunc(document.Entries(n), func(e document.Entry) bool {
		return e.Name == "external" && strings.ToLower(e.Value.Value) != "false"
	})
}

// refer notes that the service that is being read refers to a definition, or reports that there is
// none.
func (r *serviceReader) refer(v value, section, name, instead string) bool {
	if r.defined[section][name] == nil {
		r.Addf(v.line, "%s: there is no %s below %s: at the top level; %s", v.where, document.Quote(name),
			section, instead)
		return false
	}
	if r.uses[section] == nil {
		r.uses[section] = map[string]bool{}
	}
	r.uses[section][name] = true
	return true
}

// used returns the definitions that a service refers to. Each service brings its own to compose-go:
// all of them, for every service, would make the time a product of both.
func (r *serviceReader) used(section string) map[string]any {
	found := map[string]any{}
	for name := range r.uses[section] {
		found[name] = plain(r.defined[section][name])
	}
	return found
}
