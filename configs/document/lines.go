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
