package compose

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// checkKeys reports the keys of a mapping that crawlbox cannot honour. where is
// the mapping's full name, such as "services.spider".
func (r *serviceReader) checkKeys(n *yaml.Node, where string, known rules) {
	for _, e := range document.Entries(n) {
		reason, ok := known[e.Name]
		switch {
		case isExtension(e.Name):
		case e.Name == reservedKey:
			checkReserved(e, r.Problems)
		case !ok:
			r.Addf(e.Line, "%s", document.UnknownKey(where+"."+e.Name, known.honoured(where)))
		case reason != "":
			r.Addf(e.Line, "%s.%s: %s", where, e.Name, reason)
		}
	}
}

// honoured returns the keys to suggest, as full names.
func (r rules) honoured(where string) []string {
	var names []string
	for name, reason := range r {
		if reason == "" {
			names = append(names, where+"."+name)
		}
	}
	return names
}

// checkService reports what crawlbox cannot honour in one service, at any depth.
func (r *serviceReader) checkService(n *yaml.Node, where string) {
	r.checkKeys(n, where, serviceRules)
	for _, e := range document.Entries(n) {
		if serviceRules[e.Name] == "" && !strings.HasPrefix(e.Name, "x-") {
			r.checkNested(e.Value, where+"."+e.Name, e.Name)
		}
	}
}

// checkNested follows nestedRules down. pattern is the place with * for items,
// where the same with their names.
func (r *serviceReader) checkNested(n *yaml.Node, where, pattern string) {
	known, listed := nestedRules[pattern]
	if listed {
		r.checkKeys(n, where, known)
	}
	for name, child := range children(n) {
		next := pattern + "." + name
		if _, items := nestedRules[pattern+".*"]; items {
			next = pattern + ".*"
		}
		if hasRules(next) {
			r.checkNested(child, where+"."+name, next)
		}
	}
}

func hasRules(pattern string) bool {
	for place := range nestedRules {
		if place == pattern || strings.HasPrefix(place, pattern+".") {
			return true
		}
	}
	return false
}

// children goes through the values of a mapping or a list, by key or number.
func children(n *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if n.Kind == yaml.SequenceNode {
			for i, item := range n.Content {
				if !yield(strconv.Itoa(i), item) {
					return
				}
			}
		}
		for _, e := range document.Entries(n) {
			if !yield(e.Name, e.Value) {
				return
			}
		}
	}
}

// plain converts a node to what compose-go takes: maps, lists, numbers, text.
// Dates stay text, as compose-go expects.
func (r *serviceReader) plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for _, e := range document.Entries(n) {
			m[e.Name] = r.plain(e.Value)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = r.plain(item)
		}
		return list
	}
	return r.scalar(n)
}

func (r *serviceReader) scalar(n *yaml.Node) any {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		return n.Value
	case "!!null":
		return nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			r.Addf(n.Line, "read %q: %v", n.Value, err)
		}
		if f, ok := v.(float64); ok && (f != f || f-f != 0) {
			r.Addf(n.Line, "%s is not a number that can be used here", n.Value)
		}
		return v
	default:
		r.Addf(n.Line, "the tag %s is not supported", tag)
		return nil
	}
}

// checkVariables reports variables that cannot be replaced, each with its line,
// which compose-go no longer knows.
func (r *serviceReader) checkVariables(n *yaml.Node, find lookup) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		if _, err := interpolate(n.Value, find); err != nil {
			r.Addf(n.Line, "%v", err)
		}
	}
	for _, child := range children(n) {
		r.checkVariables(child, find)
	}
}
