package servicespec

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

func definedPolicy(d Deployment) (UpdatePolicy, bool) {
	if d.Definition == nil {
		return d.Update, false
	}
	return DefinedPolicy(*d.Definition)
}

func forget(before, after Plain, section, key string) {
	for _, spec := range []Plain{before, after} {
		if m, ok := spec[section].(map[string]any); ok {
			delete(m, key)
		}
	}
}

// Plain is a service to compare with another: without what means the same as
// nothing, and without what Swarm and crawlbox fill in by themselves.
type Plain map[string]any

// SameTasks reports whether Swarm keeps the tasks when a service becomes another.
func (p Plain) SameTasks(after Plain) bool {
	return reflect.DeepEqual(p["TaskTemplate"], after["TaskTemplate"])
}

// Changes lists the keys that a deployment changes, in the words of the config file,
// sorted: except for those that each deployment decides anew.
func (d Deployment) Changes(before, after Plain) []string {
	if d.Definition == nil || !d.Definition.HasFailureAction() {
		forget(before, after, "UpdateConfig", "FailureAction") // decided anew at each change
	}
	if _, said := definedPolicy(d); !said {
		forget(before, after, "UpdateConfig", "Parallelism") // follows the number of replicas
		forget(before, after, "RollbackConfig", "Parallelism")
	}
	if before.replicas() == nil && after.replicas() != nil {
		forget(before, after, "TaskTemplate", "ForceUpdate") // it starts again, see Apply
	}
	return differences(before, after)
}

// replicas returns how many a service is to have, nil for 0.
func (p Plain) replicas() any { return section(section(p, "Mode"), "Replicated")["Replicas"] }

// PlainOf returns the plain form of a service, which shares nothing with it.
func PlainOf(s swarm.ServiceSpec) (Plain, error) {
	s.Labels = maps.Clone(s.Labels)
	Avoid(&s, nil) // which is decided anew at each change
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	labels, _ := all["Labels"].(map[string]any)
	maps.DeleteFunc(labels, func(name string, _ any) bool { return strings.HasPrefix(name, "crawlbox.") })
	task, _ := all["TaskTemplate"].(map[string]any)
	delete(task, "Runtime")
	if placement, ok := task["Placement"].(map[string]any); ok {
		delete(placement, "Platforms") // Docker's client asks the registry for them
	}
	if container, ok := task["ContainerSpec"].(map[string]any); ok {
		delete(container, "Isolation")
	}
	if endpoint, ok := all["EndpointSpec"].(map[string]any); ok && endpoint["Mode"] == string(swarm.ResolutionModeVIP) {
		delete(endpoint, "Mode") // the default
	}
	prune(all)
	return all, nil
}

// prune takes away what is empty, and reports whether nothing is left.
func prune(v any) (empty bool) {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case float64:
		return v == 0
	case []any:
		for _, item := range v {
			prune(item)
		}
		return len(v) == 0
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, child any) bool { return prune(child) })
		return len(v) == 0
	}
	return false
}

// keyNames lists the keys of the config file for places in a service of Docker's API.
var keyNames = map[string]string{
	"Name":                       "name",
	"Labels":                     "deploy.labels",
	"Mode":                       "deploy.replicas",
	"EndpointSpec":               "deploy.endpoint_mode",
	"UpdateConfig":               "deploy.update_config",
	"RollbackConfig":             "deploy.rollback_config",
	"TaskTemplate.Resources":     "deploy.resources",
	"TaskTemplate.RestartPolicy": "deploy.restart_policy",
	"TaskTemplate.Placement":     "deploy.placement",
	"TaskTemplate.Networks":      "networks",
	"TaskTemplate.LogDriver":     "logging",
	"TaskTemplate.ForceUpdate":   "the restart",

	"Image":                "image",
	"Command":              "entrypoint",
	"Args":                 "command",
	"Hostname":             "hostname",
	"Dir":                  "working_dir",
	"User":                 "user",
	"Groups":               "group_add",
	"Init":                 "init",
	"StopGracePeriod":      "stop_grace_period",
	"StopSignal":           "stop_signal",
	"TTY":                  "tty",
	"OpenStdin":            "stdin_open",
	"ReadOnly":             "read_only",
	"Hosts":                "extra_hosts",
	"DNSConfig":            "dns",
	"Sysctls":              "sysctls",
	"CapabilityAdd":        "cap_add",
	"CapabilityDrop":       "cap_drop",
	"Ulimits":              "ulimits",
	"Healthcheck":          "healthcheck",
	"Mounts":               "volumes",
	"ContainerSpec.Labels": "labels",
}

// differences returns the keys in which two plain services differ, sorted.
func differences(before, after Plain) (keys []string) {
	taskBefore, taskAfter := section(before, "TaskTemplate"), section(after, "TaskTemplate")
	inBefore, inAfter := section(taskBefore, "ContainerSpec"), section(taskAfter, "ContainerSpec")
	for _, name := range differing(before, after, "TaskTemplate") {
		keys = append(keys, nameOr(name, name))
	}
	for _, name := range differing(taskBefore, taskAfter, "ContainerSpec") {
		keys = append(keys, nameOr("TaskTemplate."+name, name))
	}
	for _, name := range differing(inBefore, inAfter, "Env") {
		if name == "Labels" {
			name = "ContainerSpec.Labels"
		}
		keys = append(keys, nameOr(name, name))
	}
	for _, name := range differing(variables(inBefore["Env"]), variables(inAfter["Env"]), "") {
		keys = append(keys, "environment."+name)
	}
	slices.Sort(keys)
	return keys
}

func nameOr(place, otherwise string) string {
	if name, ok := keyNames[place]; ok {
		return name
	}
	return strings.ToLower(otherwise)
}

func section(v map[string]any, name string) map[string]any {
	m, _ := v[name].(map[string]any)
	return m
}

func differing(a, b map[string]any, except string) (names []string) {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	for name := range all {
		if name != except && !reflect.DeepEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}

func variables(env any) map[string]any {
	list, _ := env.([]any)
	byName := map[string]any{}
	for _, item := range list {
		text, _ := item.(string)
		name, _, _ := strings.Cut(text, "=")
		byName[name] = text
	}
	return byName
}
