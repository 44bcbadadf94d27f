package configs

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Show writes the configuration as YAML that [Load] reads back as the same,
// except that secrets are replaced by ********: the queue's password, values of
// services whose name says that they are secret, and passwords in URLs.
func Show(c Config) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	groups := map[string]*yaml.Node{"": root}
	for _, k := range keys {
		if k.ofQueue() && c.Queue == nil {
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
	if err := showServices(c, root); err != nil {
		return nil, fmt.Errorf("show services: %w", err)
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
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, value)
}

func (k key) show(c *Config) *yaml.Node {
	value := &yaml.Node{Kind: yaml.ScalarNode, Value: k.field(c).text()}
	switch {
	case value.Value == "":
		value.Style = yaml.DoubleQuotedStyle
	case k.secret:
		value.Value, value.Style = hidden, yaml.DoubleQuotedStyle
	case k.path:
		value.Tag = "!!str"
	}
	return value
}

func showServices(c Config, root *yaml.Node) error {
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
		var value yaml.Node
		if plain, err := toPlain(section.values); err != nil {
			return err
		} else if err := value.Encode(mask{dollars: true}.value("", plain)); err != nil {
			return err
		}
		put(root, section.name, &value)
	}
	return nil
}
