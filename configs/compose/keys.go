package compose

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// value is one value of a section of the file, with all below it.
type value struct {
	node    *yaml.Node
	where   string // full name, such as "services.spider.volumes.0"
	pattern string // where its rules are, such as "volumes.*"; see nestedRules
	line    int    // of its key, or of itself in a list
}

func (v value) below(name, pattern string, n *yaml.Node, line int) value {
	if v.pattern != "" {
		pattern = v.pattern + "." + pattern
	}
	return value{n, v.where + "." + name, pattern, line}
}

// kind is what values of a key are. It reports what is wrong with one, and returns what is left
// without that, nil for nothing.
type kind func(r *serviceReader, v value) *yaml.Node

// sift reports what is wrong below a mapping, all of it, and returns the mapping without that:
// what concerns several keys can be told of the rest.
func (r *serviceReader) sift(v value, known rules) *yaml.Node {
	kept := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: v.node.Line}
	for _, e := range document.Entries(v.node) {
		rule, ok := known[e.Name]
		below := v.below(e.Name, e.Name, e.Value, e.Line)
		switch {
		case isExtension(e.Name):
		case e.Name == reservedKey && !ok:
			checkReserved(e, r.Problems)
		case !ok:
			r.Addf(e.Line, "%s", document.UnknownKey(below.where, known.honoured(v.where), r.elsewhere()))
		case rule.refused != "":
			r.Addf(e.Line, "%s: %s", below.where, rule.refused)
		default:
			if good := rule.is(r, below); good != nil {
				name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: e.Name, Line: e.Line}
				kept.Content = append(kept.Content, name, good)
			}
		}
	}
	return kept
}

// honoured returns the keys to suggest, as full names.
func (r rules) honoured(where string) []string {
	var names []string
	for name, rule := range r {
		if rule.refused == "" {
			names = append(names, where+"."+name)
		}
	}
	return names
}

// elsewhere returns all keys of the service that is being read, as full names, but those of items.
func (r *serviceReader) elsewhere() (names []string) {
	if r.service == "" {
		return nil
	}
	for place, known := range r.rules {
		if !strings.Contains(place, "*") {
			names = append(names, known.honoured(strings.TrimSuffix(r.service+"."+place, "."))...)
		}
	}
	return names
}

// plain converts a node to what compose-go takes: maps, lists, numbers, text. Dates stay text, as
// compose-go expects. What can't be converted is nothing: no kind has let it through.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for _, e := range document.Entries(n) {
			m[e.Name] = plain(e.Value)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = plain(item)
		}
		return list
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value
	}
	var v any
	if n.Decode(&v) != nil {
		return nil
	}
	return v
}

// items goes through a list.
func (v value) items() func(yield func(value) bool) {
	return func(yield func(value) bool) {
		for i, item := range v.node.Content {
			if !yield(v.below(strconv.Itoa(i), "*", item, item.Line)) {
				return
			}
		}
	}
}
