package configs

import "strings"

// Differ returns the names of the settings in which two configs differ, but for those that are followed while a node
// runs, which come with the services.
func Differ(a, b Config) (names []string) {
	if (a.Queue == nil) != (b.Queue == nil) {
		names = append(names, "queue")
	}
	for _, k := range keys {
		group, _, _ := strings.Cut(k.name, ".")
		if group == "swarm" || group == "prune" || k.ofQueue() && (a.Queue == nil || b.Queue == nil) {
			continue
		}
		if k.field(&a).text() != k.field(&b).text() {
			names = append(names, k.name)
		}
	}
	return names
}
