package configs

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checkKeys reports the keys of a mapping that crawlbox cannot honour. where is
// the mapping's full name, such as "services.spider".
func (p *problems) checkKeys(n *yaml.Node, where string, known rules) {
	for _, e := range entries(n) {
		reason, ok := known[e.name]
		switch {
		case isExtension(e.name):
		case e.name == reservedKey:
			p.checkReserved(e)
		case !ok:
			p.addf(e.line, "%s", unknownKey(where+"."+e.name, known.honoured(where)))
		case reason != "":
			p.addf(e.line, "%s.%s: %s", where, e.name, reason)
		}
	}
}

// honoured are the keys to suggest, as full names.
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
func (p *problems) checkService(n *yaml.Node, where string) {
	p.checkKeys(n, where, serviceRules)
	for _, e := range entries(n) {
		if serviceRules[e.name] == "" && !strings.HasPrefix(e.name, "x-") {
			p.checkNested(e.value, where+"."+e.name, e.name)
		}
	}
}

// checkNested follows nestedRules down. pattern is the place with * for items,
// where the same with their names.
func (p *problems) checkNested(n *yaml.Node, where, pattern string) {
	known, listed := nestedRules[pattern]
	if listed {
		p.checkKeys(n, where, known)
	}
	for name, child := range children(n) {
		next := pattern + "." + name
		if _, items := nestedRules[pattern+".*"]; items {
			next = pattern + ".*"
		}
		if hasRules(next) {
			p.checkNested(child, where+"."+name, next)
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
		for _, e := range entries(n) {
			if !yield(e.name, e.value) {
				return
			}
		}
	}
}

// linesOf maps the name of every place below n, such as "deploy.replicas" or
// "volumes.0", to its line.
func linesOf(n *yaml.Node, line int) map[string]int {
	lines := map[string]int{"": line}
	var walk func(n *yaml.Node, where string)
	walk = func(n *yaml.Node, where string) {
		for _, e := range entries(n) {
			lines[where+e.name] = e.line
			walk(e.value, where+e.name+".")
		}
		if n.Kind != yaml.SequenceNode {
			return
		}
		for i, item := range n.Content {
			name := where + strconv.Itoa(i)
			lines[name] = item.Line
			walk(item, name+".")
		}
	}
	walk(n, "")
	return lines
}

// lineAt finds the place, or the nearest around it that has a line.
func lineAt(lines map[string]int, place string) int {
	for {
		if line, ok := lines[place]; ok {
			return line
		}
		place = place[:max(strings.LastIndexByte(place, '.'), 0)]
	}
}

// plain converts a node to what compose-go takes: maps, lists, numbers, text.
// Dates stay text, as compose-go expects.
func (p *problems) plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for _, e := range entries(n) {
			m[e.name] = p.plain(e.value)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = p.plain(item)
		}
		return list
	}
	return p.scalar(n)
}

func (p *problems) scalar(n *yaml.Node) any {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		return n.Value
	case "!!null":
		return nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			p.addf(n.Line, "read %q: %v", n.Value, err)
		}
		if f, ok := v.(float64); ok && (f != f || f-f != 0) {
			p.addf(n.Line, "%s is not a number that can be used here", n.Value)
		}
		return v
	default:
		p.addf(n.Line, "the tag %s is not supported", tag)
		return nil
	}
}
