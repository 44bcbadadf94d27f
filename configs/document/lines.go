package document

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lines holds the line of each place below a node, by its name, such as
// "deploy.replicas" or "volumes.0"; the node itself is "".
type Lines map[string]int

// LinesOf returns the lines of a node that begins at the line given.
func LinesOf(n *yaml.Node, line int) Lines {
	lines := Lines{"": line}
	lines.walk(n, "")
	return lines
}

func (l Lines) walk(n *yaml.Node, where string) {
	for _, e := range Entries(n) {
		l[where+e.Name] = e.Line
		l.walk(e.Value, where+e.Name+".")
	}
	if n.Kind != yaml.SequenceNode {
		return
	}
	for i, item := range n.Content {
		name := where + strconv.Itoa(i)
		l[name] = item.Line
		l.walk(item, name+".")
	}
}

// At returns the line of a place, or of the nearest around it that has one.
func (l Lines) At(place string) int {
	for {
		if line, ok := l[place]; ok {
			return line
		}
		place = place[:max(strings.LastIndexByte(place, '.'), 0)]
	}
}

// What says what stands at a place where something else should: a text in quotes, or "a list".
func What(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case IsNull(n):
		return "nothing"
	}
	return Quote(n.Value)
}

// Quote quotes as much of a text as fits into a line.
func Quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return strconv.Quote(string(r[:most])) + "…"
	}
	return strconv.Quote(text)
}
