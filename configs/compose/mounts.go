package compose

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// mount is one of the volumes of a service, in a line or a mapping.
func mount(r *serviceReader, v value) *yaml.Node {
	if v.node.Kind == yaml.MappingNode {
		return mountMapping(r, v)
	}
	const be = "a mount such as ./data:/data:ro or cache:/cache"
	s, ok := r.scalar(v, be)
	if !ok {
		return nil
	}
	m, err := format.ParseVolume(s.text)
	if err != nil || !s.isText() {
		r.must(v, be, document.Quote(s.text))
		return nil
	}
	if options, ok := strings.CutPrefix(s.text, m.Source+":"+m.Target+":"); ok {
		for option := range strings.SplitSeq(options, ",") {
			if !slices.Contains(mountOptions, option) {
				r.Addf(v.line, "%s: there is no option %s: use ro, rw, nocopy or a propagation such as rslave", v.where,
					document.Quote(option))
				return nil
			}
		}
	}
	if len(s.text) > 1 && s.text[1] == ':' && strings.ToUpper(s.text[:1]) != strings.ToLower(s.text[:1]) {
		r.Addf(v.line, "%s: Compose takes one letter before a colon for a drive of Windows: give the volume a longer "+
			"name", v.where)
		return nil
	}
	if m.Bind != nil && m.Bind.SELinux != "" {
		r.Addf(v.line, "%s: Swarm does not set SELinux labels; remove :z or :Z", v.where)
		return nil
	}
	if !r.takesMount(v, mounted{m.Type, m.Source, m.Target}) {
		return nil
	}
	return v.node
}

var mountOptions = append([]string{"ro", "rw", "nocopy", types.SELinuxShared, types.SELinuxPrivate},
	format.Propagations...)

// mounted is what a mount has in all its forms.
type mounted struct{ is, source, target string }

func mountMapping(r *serviceReader, v value) *yaml.Node {
	before := len(r.Errs)
	good := mapping(r, v)
	var m mounted
	for _, e := range document.Entries(good) {
		if e.Value.Kind != yaml.ScalarNode {
			continue
		}
		text, _ := interpolate(e.Value.Value, r.find)
		switch e.Name {
		case "type":
			m.is = text
		case "source":
			m.source = text
		case "target":
			m.target = text
		}
	}
	for _, name := range []string{"type", "target"} {
		if !hasAny(v.node, name) {
			r.Addf(v.line, "%s: has no %s", v.where, name)
		}
	}
	if len(r.Errs) > before || !r.takesMount(v, m) {
		return nil
	}
	return good
}

// takesMount reports what Swarm would not take of a mount.
func (r *serviceReader) takesMount(v value, m mounted) bool {
	before := len(r.Errs)
	switch {
	case m.is == types.VolumeTypeTmpfs && m.source != "":
		r.Addf(v.line, "%s: a tmpfs has no source", v.where)
	case m.is == types.VolumeTypeBind && m.source == "":
		r.Addf(v.line, "%s: a bind has a source", v.where)
	case m.is == types.VolumeTypeVolume && m.source != "":
		r.refer(v, "volumes", m.source, "define it there, or begin a path with ./")
	}
	if r.braces(v, m.source) && r.braces(v, m.target) {
		r.claimTarget(v, m.target)
	}
	return len(r.Errs) == before
}

// claimTarget reports a place in the container that is none, or that something is mounted to
// already.
func (r *serviceReader) claimTarget(v value, target string) {
	if !path.IsAbs(target) {
		r.Addf(v.line, "%s: the target %s is not an absolute path", v.where, document.Quote(target))
		return
	}
	target = path.Clean(target)
	if first, taken := r.targets[target]; taken {
		r.Addf(v.line, "%s: the mount in line %d has the target %s too", v.where, first, document.Quote(target))
		return
	}
	r.targets[target] = v.line
}

// Tmpfs is an entry of `tmpfs:`, a path and perhaps options: /run:size=64m,mode=1777.
type Tmpfs struct {
	Target   string
	ReadOnly bool
	Options  bool // there are some
	Size     int64
	Mode     uint32
}

func tmpfs(r *serviceReader, v value) *yaml.Node {
	if text(r, v) == nil {
		return nil
	}
	said, _ := interpolate(v.node.Value, r.find)
	t, err := ParseTmpfs(said)
	before := len(r.Errs)
	if err != nil {
		r.Addf(v.line, "%s: %s", v.where, err)
	} else if r.braces(v, t.Target) {
		r.claimTarget(v, t.Target)
	}
	if len(r.Errs) > before {
		return nil
	}
	return v.node
}

// ParseTmpfs reads an entry of `tmpfs:`.
func ParseTmpfs(text string) (Tmpfs, error) {
	target, list, _ := strings.Cut(text, ":")
	t := Tmpfs{Target: target, Options: list != ""}
	if !t.Options {
		return t, nil
	}
	for option := range strings.SplitSeq(list, ",") {
		if err := t.set(option); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (t *Tmpfs) set(option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "ro":
		t.ReadOnly = true
	case "rw":
	case "size":
		size, err := units.RAMInBytes(value)
		if err != nil || size < 0 {
			return fmt.Errorf("%s is not a size like size=64m", document.Quote(option))
		}
		t.Size = size
	case "mode":
		mode, err := strconv.ParseUint(value, 8, 12)
		if err != nil {
			return fmt.Errorf("%s is not a mode like mode=1777", document.Quote(option))
		}
		t.Mode = uint32(mode)
	default:
		return fmt.Errorf("the tmpfs option %s is not in Swarm: use size, mode, ro or rw", document.Quote(name))
	}
	return nil
}
