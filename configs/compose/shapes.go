package compose

import (
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// mapping is what the rules of its place say.
func mapping(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind != yaml.MappingNode {
		r.must(v, "a mapping of keys and values", document.What(v.node))
		return nil
	}
	return r.sift(v, r.rules[v.pattern])
}

// mappingOrNone is a mapping that may have no value.
func mappingOrNone(r *serviceReader, v value) *yaml.Node {
	if document.IsNull(v.node) {
		return v.node
	}
	return mapping(r, v)
}

// listOf is a list whose items are of a kind. One with a bad item is left out as a whole: what is
// found later counts its items.
func listOf(item kind) kind {
	return func(r *serviceReader, v value) *yaml.Node {
		if v.node.Kind != yaml.SequenceNode {
			r.must(v, "a list", document.What(v.node))
			return nil
		}
		before := len(r.Errs)
		kept := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: v.node.Line}
		for i := range v.items() {
			kept.Content = append(kept.Content, item(r, i))
		}
		if len(r.Errs) > before {
			return nil
		}
		return kept
	}
}

// oneOrListOf is a list, or one value in place of a list of one.
func oneOrListOf(item kind) kind {
	list := listOf(item)
	return func(r *serviceReader, v value) *yaml.Node {
		if v.node.Kind == yaml.ScalarNode && !document.IsNull(v.node) {
			return item(r, v)
		}
		return list(r, v)
	}
}

// unique is what a list is in which nothing stands twice; a mapping has each name once.
func unique(list kind) kind {
	return func(r *serviceReader, v value) *yaml.Node {
		good := list(r, v)
		if good == nil {
			return nil
		}
		seen := map[string]int{}
		if good.Kind != yaml.SequenceNode {
			return good
		}
		for i := range v.items() {
			if first, twice := seen[i.node.Value]; twice {
				r.Addf(i.line, "%s: %s is listed in line %d already", i.where, document.Quote(i.node.Value), first)
				good = nil
			}
			seen[i.node.Value] = i.line
		}
		return good
	}
}

var (
	texts      = listOf(text)
	oneOrTexts = oneOrListOf(text)
	addresses  = oneOrListOf(address)
	tmpfsList  = oneOrListOf(tmpfs)
	groups     = unique(listOf(one("the name or number of a group", func(s scalar) bool {
		return s.isText() || s.tag == "!!int"
	})))
)

// command is a list of arguments, or a line that a shell would split.
func command(r *serviceReader, v value) *yaml.Node {
	switch {
	case document.IsNull(v.node):
		return v.node
	case v.node.Kind == yaml.SequenceNode:
		return texts(r, v)
	}
	return one("a list of arguments, or a command whose quotes end", func(s scalar) bool {
		var c types.ShellCommand
		return s.isText() && c.DecodeMapstructure(s.text) == nil
	})(r, v)
}

// healthTest is a command line, or a list that says first how the rest is run.
func healthTest(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind != yaml.SequenceNode {
		return text(r, v)
	}
	list := texts(r, v)
	if list == nil {
		return nil
	}
	if len(list.Content) == 0 || !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, list.Content[0].Value) {
		r.Addf(v.line, "%s: must begin with CMD, CMD-SHELL or NONE", v.where)
		return nil
	}
	return list
}

// pair is one of the names and values of a mapping, or of a list of NAME=VALUE.
type pair struct {
	value
	name  string
	text  string // its value, with variables replaced
	given bool   // it has one
}

// pairsThat is a mapping, or a list of NAME=VALUE, of which each pair is good.
func pairsThat(good func(r *serviceReader, p pair) bool) kind {
	return func(r *serviceReader, v value) *yaml.Node {
		if v.node.Kind != yaml.MappingNode && v.node.Kind != yaml.SequenceNode {
			r.must(v, "a mapping, or a list of NAME=VALUE", document.What(v.node))
			return nil
		}
		before := len(r.Errs)
		for _, e := range document.Entries(v.node) {
			p := pair{value: v.below(e.Name, "*", e.Value, e.Line), name: e.Name}
			if r.pairValue(&p) {
				good(r, p)
			}
		}
		if v.node.Kind == yaml.SequenceNode {
			for i := range v.items() {
				if s, ok := r.scalar(i, "text such as NAME=VALUE"); ok && !s.isText() {
					r.must(i, "text such as NAME=VALUE", document.Quote(s.text))
				} else if ok {
					p := pair{value: i}
					p.name, p.text, p.given = strings.Cut(s.text, "=")
					good(r, p)
				}
			}
		}
		if len(r.Errs) > before {
			return nil
		}
		return v.node
	}
}

// pairValue reads the value of a pair of a mapping, which may have none.
func (r *serviceReader) pairValue(p *pair) bool {
	if document.IsNull(p.node) {
		return true
	}
	s, ok := r.scalar(p.value, "a single value")
	p.text, p.given = s.text, ok
	return ok
}

var (
	pairs = pairsThat(func(r *serviceReader, p pair) bool {
		return r.named(p) && r.noQueue(p) && r.braces(p.value, p.text)
	})

	uniquePairs = unique(pairs)

	labels = pairsThat(func(r *serviceReader, p pair) bool {
		if strings.HasPrefix(p.name, LabelPrefix) {
			r.Addf(p.line, "%s: crawlbox keeps labels that begin with %s for itself", p.where, LabelPrefix)
			return false
		}
		return r.named(p) && r.noQueue(p)
	})

	environ = pairsThat(func(r *serviceReader, p pair) bool { return r.named(p) && r.braces(p.value, p.text) })
)

// named reports a pair whose name can't be one.
func (r *serviceReader) named(p pair) bool {
	switch {
	case p.name == "":
		r.Addf(p.line, "%s: has no name before its =", p.where)
	case unicode.IsSpace(rune(p.name[len(p.name)-1])):
		r.Addf(p.line, "%s: the name %s ends with a space", p.where, document.Quote(p.name))
	default:
		return true
	}
	return false
}

func (r *serviceReader) noQueue(p pair) bool {
	if strings.Contains(p.text, QueuePlaceholder) || !p.given && p.name == QueueVariable {
		r.noQueueHere(p.value)
		return false
	}
	return true
}

// options is a mapping of texts and numbers.
func options(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind != yaml.MappingNode {
		r.must(v, "a mapping of keys and values", document.What(v.node))
		return nil
	}
	before := len(r.Errs)
	for _, e := range document.Entries(v.node) {
		below := v.below(e.Name, "*", e.Value, e.Line)
		const be = "text or a number"
		if s, ok := r.scalar(below, be); ok && s.tag == "!!bool" {
			r.must(below, be+" (put it in quotes)", document.Quote(s.text))
		} else if ok && strings.Contains(s.text, QueuePlaceholder) {
			r.noQueueHere(below)
		} else if ok {
			r.braces(below, s.text)
		}
	}
	if len(r.Errs) > before {
		return nil
	}
	return v.node
}

// external says that somebody else makes a thing, and perhaps its name.
func external(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind != yaml.MappingNode {
		return boolean(r, v)
	}
	return r.sift(v, rules{"name": {is: text}})
}

// hosts are host names with their addresses.
func hosts(r *serviceReader, v value) *yaml.Node {
	const be = "HOST:ADDRESS such as db:10.0.0.7"
	before := len(r.Errs)
	check := func(v value, said, host string, addresses ...string) {
		bad := host == "" || strings.ContainsAny(host, ":=")
		for _, text := range addresses {
			_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
			bad = bad || err != nil
		}
		if bad {
			r.must(v, be, document.Quote(said))
		}
	}
	switch v.node.Kind {
	case yaml.SequenceNode:
		for i := range v.items() {
			if s, ok := r.scalar(i, be); ok {
				host, addresses, found := strings.Cut(s.text, "=")
				if !found {
					host, addresses, _ = strings.Cut(s.text, ":")
				}
				check(i, s.text, host, strings.Split(addresses, ",")...)
			}
		}
	case yaml.MappingNode:
		for _, e := range document.Entries(v.node) {
			below := v.below(e.Name, "*", e.Value, e.Line)
			list := []value{below}
			if e.Value.Kind == yaml.SequenceNode {
				list = slices.Collect(below.items())
			}
			for _, i := range list {
				if s, ok := r.scalar(i, "an IP address"); ok {
					check(i, s.text, e.Name, s.text)
				}
			}
		}
	default:
		r.must(v, "a list of "+be, document.What(v.node))
	}
	if len(r.Errs) > before {
		return nil
	}
	return v.node
}

// ulimits are limits by their names, each a number or a soft and a hard one.
func ulimits(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind != yaml.MappingNode {
		r.must(v, "a mapping such as nofile: 20000", document.What(v.node))
		return nil
	}
	before := len(r.Errs)
	for _, e := range document.Entries(v.node) {
		below := v.below(e.Name, "*", e.Value, e.Line)
		switch {
		case strings.Trim(e.Name, "abcdefghijklmnopqrstuvwxyz") != "" || e.Name == "":
			r.Addf(e.Line, "%s: a limit has a name such as nofile", below.where)
		case e.Value.Kind != yaml.MappingNode:
			limit(r, below)
		case !hasAny(e.Value, "soft") || !hasAny(e.Value, "hard"):
			mapping(r, below)
			r.Addf(e.Line, "%s: must have both soft and hard", below.where)
		default:
			mapping(r, below)
		}
	}
	if len(r.Errs) > before {
		return nil
	}
	return v.node
}

// networkNames are the networks of a service, with or without settings.
func networkNames(r *serviceReader, v value) *yaml.Node {
	const instead = "define it there with `external: true`"
	if v.node.Kind != yaml.MappingNode {
		return unique(listOf(func(r *serviceReader, i value) *yaml.Node {
			s, ok := r.scalar(i, "the name of a network")
			if !ok || !r.refer(i, "networks", s.text, instead) {
				return nil
			}
			return i.node
		}))(r, v)
	}
	kept := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: v.node.Line}
	for _, e := range document.Entries(v.node) {
		below := v.below(e.Name, "*", e.Value, e.Line)
		if good := mappingOrNone(r, below); good != nil && r.refer(below, "networks", e.Name, instead) {
			name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: e.Name, Line: e.Line}
			kept.Content = append(kept.Content, name, good)
		}
	}
	return kept
}

// envFiles are paths, or mappings with one.
func envFiles(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind == yaml.ScalarNode {
		return text(r, v)
	}
	return listOf(func(r *serviceReader, i value) *yaml.Node {
		switch {
		case i.node.Kind != yaml.MappingNode:
			return text(r, i)
		case !hasAny(i.node, "path"):
			r.Addf(i.line, "%s: has no path", i.where)
			return nil
		}
		return mapping(r, i)
	})(r, v)
}

// buildOf is a directory, or a mapping with one.
func buildOf(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind == yaml.MappingNode {
		return mapping(r, v)
	}
	return one("a directory, or a mapping with context", scalar.isText)(r, v)
}

// buildSecret is the name of a secret, or a mapping with one as source.
func buildSecret(r *serviceReader, v value) *yaml.Node {
	named := v
	if v.node.Kind == yaml.MappingNode {
		good := mapping(r, v)
		for _, e := range document.Entries(v.node) {
			if e.Name == "source" {
				named = v.below(e.Name, e.Name, e.Value, e.Line)
			}
		}
		if good == nil || named.node == v.node {
			r.must(v, "the name of a secret, or a mapping with it as source", document.What(v.node))
			return nil
		}
	}
	s, ok := r.scalar(named, "the name of a secret")
	if !ok {
		return nil
	}
	if !r.refer(named, "secrets", s.text, "define it there with a file or an environment") {
		return nil
	}
	return v.node
}

// preference spreads tasks over the values of a label.
func preference(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind == yaml.MappingNode && !hasAny(v.node, "spread") {
		r.Addf(v.line, "%s: has no spread: name a label like node.labels.rack", v.where)
		return nil
	}
	return mapping(r, v)
}
