package document

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// What aliases may expand to. A config for hundreds of services stays far
// below; nine lines of nested aliases reach billions.
const (
	maxNodes = 50_000
	maxText  = 4 << 20 // bytes of text
	maxDepth = 64
)

// expander replaces aliases and merge keys. An alias's value is expanded once
// and shared; weight counts what it would be if it were copied, since whoever
// walks the result walks it as often as it is mentioned.
type expander struct {
	*Problems
	done   map[*yaml.Node]expanded
	open   map[*yaml.Node]bool
	failed bool
}

type expanded struct {
	node        *yaml.Node
	nodes, text int
}

func expandDocument(root *yaml.Node, p *Problems) *yaml.Node {
	e := &expander{Problems: p, done: map[*yaml.Node]expanded{}, open: map[*yaml.Node]bool{}}
	result := e.expand(root, 0)
	switch {
	case e.failed:
		return nil
	case result.node.Kind == yaml.MappingNode:
		return result.node
	case !IsNull(result.node):
		p.Addf(root.Line, "the file must be a mapping of keys and values, like `data_dir: /var/lib/crawlbox`, not %s",
			What(result.node))
	}
	return nil
}

// fail reports a limit that was passed. Only the first is of use: each node
// around it passes the limit too.
func (e *expander) fail(line int, reason string) expanded {
	if !e.failed {
		e.Addf(line, "%s", reason)
	}
	e.failed = true
	return expanded{node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: line}, nodes: 1}
}

func (e *expander) expand(n *yaml.Node, depth int) expanded {
	if e.failed {
		return e.fail(n.Line, "")
	}
	if depth > maxDepth {
		return e.fail(n.Line, "the nesting is too deep")
	}
	if result, ok := e.done[n]; ok {
		return result
	}
	if e.open[n] {
		return e.fail(n.Line, "the anchor contains itself")
	}
	e.open[n] = true
	result := e.expandKind(n, depth)
	delete(e.open, n)
	if result.nodes > maxNodes || result.text > maxText {
		return e.fail(n.Line, "the file is too large with its aliases written out")
	}
	e.done[n] = result
	return result
}

func (e *expander) expandKind(n *yaml.Node, depth int) expanded {
	switch n.Kind {
	case yaml.AliasNode:
		return e.expand(n.Alias, depth+1)
	case yaml.SequenceNode:
		return e.sequence(n, depth)
	case yaml.MappingNode:
		return e.mapping(n, depth)
	}
	return expanded{node: n, nodes: 1, text: len(n.Value)}
}

func (e *expander) sequence(n *yaml.Node, depth int) expanded {
	result := expanded{node: bare(n), nodes: 1}
	for _, item := range n.Content {
		result.append(e.expand(item, depth+1))
	}
	return result
}

// mapping keeps the order of the file; merged keys come last.
func (e *expander) mapping(n *yaml.Node, depth int) expanded {
	result := expanded{node: bare(n), nodes: 1}
	lines := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			e.Addf(name.Line, "a key must be plain text")
			continue
		}
		if first, ok := lines[name.Value]; ok {
			e.Addf(name.Line, "duplicate key %q (first in line %d)", name.Value, first)
			continue
		}
		lines[name.Value] = name.Line
		if name.Tag == "!!merge" {
			merges = append(merges, value)
			continue
		}
		result.append(expanded{node: name, nodes: 1, text: len(name.Value)})
		result.append(e.expand(value, depth+1))
	}
	for _, m := range merges {
		e.merge(&result, m, lines, depth)
	}
	return result
}

// merge adds the keys of a `<<` that the mapping, or an earlier one in the
// list, does not set itself.
func (e *expander) merge(into *expanded, from *yaml.Node, lines map[string]int, depth int) {
	source := e.expand(from, depth+1).node
	sources := []*yaml.Node{source}
	if source.Kind == yaml.SequenceNode {
		sources = source.Content
	}
	for _, s := range sources {
		if s.Kind != yaml.MappingNode {
			if !e.failed {
				e.Addf(from.Line, "`<<` merges mappings only")
			}
			return
		}
		for i := 0; i+1 < len(s.Content); i += 2 {
			name := s.Content[i]
			if _, ok := lines[name.Value]; ok {
				continue
			}
			lines[name.Value] = name.Line
			into.append(expanded{node: name, nodes: 1, text: len(name.Value)})
			into.append(e.expand(s.Content[i+1], depth+1))
		}
	}
}

func (x *expanded) append(child expanded) {
	x.node.Content = append(x.node.Content, child.node)
	x.nodes += child.nodes
	x.text += child.text
}

// bare copies a collection without its children and its anchor.
func bare(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: n.Kind, Tag: n.Tag, Line: n.Line, Column: n.Column}
}

// IsNull reports whether a key has no value.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Entry is one key of a mapping, with its value.
type Entry struct {
	Name  string
	Line  int
	Value *yaml.Node
}

// Entries returns the keys of a mapping in their order, and none of anything else.
func Entries(n *yaml.Node) []Entry {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	list := make([]Entry, 0, len(n.Content)/2)
	for pair := range slices.Chunk(n.Content, 2) {
		list = append(list, Entry{pair[0].Value, pair[0].Line, pair[1]})
	}
	return list
}
