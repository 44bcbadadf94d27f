package compose

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/configs/document"
)

// scalar is a single value of a YAML tag, with variables replaced.
type scalar struct {
	node *yaml.Node
	tag  string // short, such as !!int
	text string
}

// must reports that a value is not what it has to be.
func (r *serviceReader) must(v value, be, not string) {
	r.Addf(v.line, "%s: must be %s, not %s", v.where, be, not)
}

// scalar reads a value that must be one, or reports why it is none.
func (r *serviceReader) scalar(v value, be string) (s scalar, ok bool) {
	if v.node.Kind != yaml.ScalarNode || document.IsNull(v.node) {
		r.must(v, be, document.What(v.node))
		return s, false
	}
	s = scalar{v.node, v.node.ShortTag(), v.node.Value}
	switch s.tag {
	case "!!str":
		text, err := interpolate(s.text, r.find)
		if err != nil {
			r.Addf(v.line, "%s: %s", v.where, err)
			return s, false
		}
		s.text = text
	case "!!timestamp":
	case "!!int", "!!float", "!!bool":
		var is any
		err := v.node.Decode(&is)
		if f, isFloat := is.(float64); err != nil || isFloat && (f != f || f-f != 0) {
			r.Addf(v.line, "%s: %s is not a number that can be used here", v.where, s.text)
			return s, false
		}
	default:
		r.Addf(v.line, "%s: the tag %s is not supported", v.where, document.Quote(v.node.Tag))
		return s, false
	}
	return s, true
}

// one is a kind of single values, which must be something.
func one(be string, good func(scalar) bool) kind {
	return func(r *serviceReader, v value) *yaml.Node {
		s, ok := r.scalar(v, be)
		switch {
		case !ok:
			return nil
		case strings.Contains(s.text, QueuePlaceholder):
			r.noQueueHere(v)
			return nil
		case !good(s):
			r.must(v, be, document.Quote(s.text))
			return nil
		}
		return v.node
	}
}

// noQueueHere reports the URL of the queue outside of the environment: values there are shown to
// those who may not see the password.
func (r *serviceReader) noQueueHere(v value) {
	r.Addf(v.line, "%s: ${%s} is for environment and env_file; a shell in the container knows it as $$%s", v.where,
		QueueVariable, QueueVariable)
}

func (s scalar) isText() bool { return s.tag == "!!str" || s.tag == "!!timestamp" }

// number returns the number that a value is, or that its text is.
func (s scalar) number() (f float64, ok bool) {
	var err error
	if s.isText() {
		f, err = strconv.ParseFloat(s.text, 64)
	} else {
		err = s.node.Decode(&f)
	}
	return f, err == nil && f-f == 0
}

// whole returns the whole number that a value is, or that its text is.
func (s scalar) whole() (n int, ok bool) {
	if s.isText() {
		n, err := strconv.Atoi(s.text)
		return n, err == nil
	}
	f, ok := s.number()
	if s.tag == "!!bool" || !ok || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return 0, false
	}
	return int(f), true
}

// maxCount keeps numbers of tasks and processors far from overflow.
const maxCount = 1_000_000

var (
	text = one("text (put a number in quotes)", scalar.isText)

	count = one(fmt.Sprintf("a whole number from 0 to %d", maxCount), func(s scalar) bool {
		n, ok := s.whole()
		return ok && n >= 0 && n <= maxCount
	})

	replicas = one(fmt.Sprintf("a whole number from 0 to %d", bound.MaxReplicas), func(s scalar) bool {
		n, ok := s.whole()
		return ok && n >= 0 && n <= bound.MaxReplicas
	})

	limit = one("a whole number, or -1 for no limit", func(s scalar) bool {
		n, ok := s.whole()
		return ok && n >= -1 && (s.isText() || s.tag == "!!int")
	})

	ratio = one("a number from 0 to 1", func(s scalar) bool {
		f, ok := s.number()
		return ok && f >= 0 && f <= 1
	})

	duration = one("a duration such as 5s", func(s scalar) bool {
		d, ok := s.duration()
		return ok && d >= 0
	})

	// pause is a duration that Swarm takes for a health check.
	pause = one("a duration such as 5s, 1ms or more", func(s scalar) bool {
		d, ok := s.duration()
		return ok && (d == 0 || d >= time.Millisecond)
	})

	byteSize = one("a size such as 64M", func(s scalar) bool {
		n, ok := s.size()
		return ok && n >= 0
	})

	absolute = one("an absolute path", func(s scalar) bool { return s.isText() && path.IsAbs(s.text) })

	address = one("an IP address", func(s scalar) bool {
		_, err := netip.ParseAddr(s.text)
		return s.isText() && err == nil
	})

	imageName = one("the name of an image such as localhost:8003/spider:0.01, in lower case", func(s scalar) bool {
		_, err := reference.ParseNormalizedNamed(s.text)
		return s.isText() && err == nil
	})

	hostOnly = one("host, the only one; name others below networks", func(s scalar) bool { return s.text == hostMode })
)

// constraint says on which nodes tasks may run.
func constraint(r *serviceReader, v value) *yaml.Node {
	const be = "a constraint such as node.labels.disk==ssd"
	s, ok := r.scalar(v, be)
	if !ok {
		return nil
	}
	if _, _, _, err := naming.SplitConstraint(s.text); err != nil {
		r.must(v, be, document.Quote(s.text)+": "+err.Error())
		return nil
	}
	return one(be, scalar.isText)(r, v)
}

// booleans are those of YAML 1.1, which Compose takes too.
var booleans = map[string]string{
	"true": "true", "y": "true", "yes": "true", "on": "true",
	"false": "false", "n": "false", "no": "false", "off": "false",
}

// boolean is true or false, and is left as one of them: of others compose-go would warn.
func boolean(r *serviceReader, v value) *yaml.Node {
	is := ""
	if one("true or false", func(s scalar) bool {
		is = booleans[strings.ToLower(s.text)]
		return is != "" && (s.tag == "!!bool" || s.isText())
	})(r, v) == nil {
		return nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: is, Line: v.node.Line}
}

// permissions are a number, or a text of octal digits, which is left as a number: compose-go takes
// no text.
func permissions(r *serviceReader, v value) *yaml.Node {
	mode := 0
	if one("permissions such as 0o1777 or \"1777\"", func(s scalar) (ok bool) {
		if s.isText() {
			n, err := strconv.ParseUint(s.text, 8, 12)
			mode, ok = int(n), err == nil
		} else {
			mode, ok = s.whole()
		}
		return ok && mode >= 0 && mode < 1<<12
	})(r, v) == nil {
		return nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(mode), Line: v.node.Line}
}

// oneOf is one of some texts.
func oneOf(texts ...string) kind {
	last := len(texts) - 1
	be := strings.Join(texts[:last], ", ") + " or " + texts[last]
	return one(be, func(s scalar) bool { return s.isText() && slices.Contains(texts, s.text) })
}

// processors is a number of processors; 0 says nothing.
func processors(least float64) kind {
	return one(fmt.Sprintf("a number of processors, %g or more", least), func(s scalar) bool {
		f, ok := s.number()
		return ok && s.tag != "!!bool" && (f == 0 || f >= least) && f < maxCount
	})
}

// memory is a size that somebody takes for the memory of a container; 0 says nothing.
func memory(least int64, whose string) kind {
	be := fmt.Sprintf("a size such as 64M, %s or more, which is the least that %s takes",
		units.BytesSize(float64(least)), whose)
	return one(be, func(s scalar) bool {
		n, ok := s.size()
		return ok && s.isText() && (n == 0 || n >= least)
	})
}

func (s scalar) duration() (time.Duration, bool) {
	var d types.Duration
	ok := s.isText() && s.text != "" && d.DecodeMapstructure(s.text) == nil
	return time.Duration(d), ok
}

func (s scalar) size() (int64, bool) {
	if !s.isText() {
		n, ok := s.whole()
		return int64(n), ok && s.tag == "!!int"
	}
	var n types.UnitBytes
	err := n.DecodeMapstructure(s.text)
	return int64(n), err == nil
}
