package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/compose"
)

// Show writes the configuration as YAML that [Load] reads back as the same,
// except that secrets are replaced by ********: the queue's password, values of
// services whose name says that they are secret, and passwords in URLs.
func Show(c Config) ([]byte, error) {
	return asYAML(c, func(k key) bool { return !k.ofQueue() || c.Queue != nil }, mask{dollars: true})
}

// OfCluster writes what of the configuration is the whole cluster's and no single machine's, its services above
// all, as JSON that [Parse] reads back as the same. It has the secrets of services.
func OfCluster(c Config) ([]byte, error) {
	text, err := asYAML(c, func(k key) bool { return k.name == "prune" || strings.HasPrefix(k.name, "swarm.") },
		mask{dollars: true, open: true})
	if err != nil {
		return nil, err
	}
	var plain any
	if err := yaml.Unmarshal(text, &plain); err != nil {
		return nil, fmt.Errorf("write what is the cluster's: %w", err)
	}
	return json.Marshal(plain)
}

// asYAML writes some keys, and the services with what a mask leaves of them.
func asYAML(c Config, has func(key) bool, m mask) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	groups := map[string]*yaml.Node{"": root}
	for _, k := range keys {
		if !has(k) {
			continue
		}
		group, name, nested := strings.Cut(k.name, ".")
		if !nested {
			group, name = "", k.name
		} else if groups[group] == nil {
			groups[group] = &yaml.Node{Kind: yaml.MappingNode}
			put(root, group, groups[group])
		}
		put(groups[group], name, k.show(&c))
	}
	if err := showServices(c, root, m); err != nil {
		return nil, fmt.Errorf("show services: %w", err)
	}
	if err := showSchedules(c, root, m); err != nil {
		return nil, fmt.Errorf("show schedules: %w", err)
	}
	if err := showAlerts(c, root, m); err != nil {
		return nil, fmt.Errorf("show alerts: %w", err)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("show configuration: %w", err)
	}
	return out.Bytes(), nil
}

func put(mapping *yaml.Node, name string, value *yaml.Node) {
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
	if strings.Contains(name, "\n") {
		key.Style = yaml.DoubleQuotedStyle
	}
	mapping.Content = append(mapping.Content, key, value)
}

func (k key) show(c *Config) *yaml.Node {
	value := &yaml.Node{Kind: yaml.ScalarNode, Value: k.field(c).text()}
	switch {
	case k.list:
		return showList(value.Value)
	case value.Value == "":
		value.Style = yaml.DoubleQuotedStyle
	case k.secret:
		value.Value, value.Style = hidden, yaml.DoubleQuotedStyle
	case k.url:
		value.Value = urlPassword.ReplaceAllString(value.Value, "${1}"+hidden+"@")
	case k.path:
		value.Tag = "!!str"
	}
	return value
}

func showList(text string) *yaml.Node {
	var items []string
	_ = list(&items).set(text) // a list is never wrong
	value := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, item := range items {
		value.Content = append(value.Content, &yaml.Node{
			Kind: yaml.ScalarNode, Tag: "!!str", Value: item, Style: yaml.DoubleQuotedStyle,
		})
	}
	return value
}

func showServices(c Config, root *yaml.Node, m mask) error {
	services, networks, volumes, secrets := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	for _, s := range c.Services {
		services[s.Name] = s.Compose
		for name, n := range s.Networks {
			networks[name] = map[string]any{"external": bool(n.External), "name": n.Name}
		}
		for name, v := range s.Volumes {
			volumes[name] = v
		}
		for name, secret := range s.Secrets {
			secrets[name] = secret
		}
	}
	for _, section := range []struct {
		name   string
		values map[string]any
	}{{"services", services}, {"networks", networks}, {"volumes", volumes}, {"secrets", secrets}} {
		if len(section.values) == 0 {
			continue
		}
		plain, err := toPlain(section.values)
		if err != nil {
			return err
		}
		if section.name == "services" {
			addExtensions(plain, c.Services)
		}
		value, err := asNode(m.value("", plain))
		if err != nil {
			return err
		}
		put(root, section.name, value)
	}
	return nil
}

// addExtensions adds to plain services what Compose does not know of them.
func addExtensions(plain any, services []compose.Service) {
	all, _ := plain.(map[string]any)
	for _, s := range services {
		if own, extended := all[s.Name].(map[string]any); extended && s.Extension() != nil {
			own[compose.ExtensionKey] = s.Extension()
		}
	}
}

// asNode returns a plain value as YAML. Texts of several lines that begin with a blank one are quoted: the library
// does not read back the blocks that it writes of them.
func asNode(plain any) (*yaml.Node, error) {
	node := &yaml.Node{}
	switch plain := plain.(type) {
	case map[string]any:
		node.Kind = yaml.MappingNode
		for _, name := range slices.Sorted(maps.Keys(plain)) {
			value, err := asNode(plain[name])
			if err != nil {
				return nil, err
			}
			put(node, name, value)
		}
	case []any:
		node.Kind = yaml.SequenceNode
		for _, item := range plain {
			value, err := asNode(item)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, value)
		}
	case string:
		*node = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: plain}
		switch lines := strings.Contains(plain, "\n"); {
		case lines && strings.ContainsAny(plain[:1], " \t\r\n"):
			node.Style = yaml.DoubleQuotedStyle
		case lines:
			node.Style = yaml.LiteralStyle
		}
	default:
		return node, node.Encode(plain)
	}
	return node, nil
}
