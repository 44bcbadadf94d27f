// Package cluster has the commands about the nodes of a cluster: what they are, and how they
// join, are upgraded and leave. What a command prints is drawn from the same values that --json
// prints.
package cluster

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func StatusCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show this node, its cluster and what is wrong with them",
		Example: "  crawlbox status\n  crawlbox status --watch",
		Args:    command.NoArgs,
	}
	return command.WatchesAll(a, cmd, (*api.Client).Status, renderStatus)
}

func renderStatus(s tui.Screen, st api.Status) {
	field := func(name, format string, args ...any) {
		fmt.Fprintln(s.W, s.Fit(fmt.Sprintf("%-10s "+format, append([]any{name + ":"}, args...)...)))
	}
	field("Node", "%s (%s), %s", st.Node, st.Mode, st.Addr)
	field("Crawlbox", "%s, up %s", st.Version, s.Since(st.Started))
	field("Docker", "%s", dockerState(st.Docker))
	if st.Manager {
		field("Cluster", "%s", st.Cluster)
		field("Nodes", "%s ready", of(st.Nodes))
		field("Managers", "%s reachable", of(st.Managers))
		field("Services", "%s as wanted", of(st.Services))
		field("Tasks", "%s running", of(st.Tasks))
	}
	field("Registry", "%s", registryState(st.Registry))
	writeTraffic(field, st.Registry)
	if st.Queue != nil {
		field("Queue", "%s", queueState(*st.Queue))
	}
	if len(st.Problems) == 0 {
		return
	}
	fmt.Fprintln(s.W, "\nProblems:")
	for _, p := range st.Problems {
		tui.WriteProblem(s, words.OneLine(p))
	}
}

// writeTraffic says where images came from and went to.
func writeTraffic(field func(name, format string, args ...any), r api.Registry) {
	t := r.Traffic
	if r.ReadOnly {
		field("Pulled", "%s from the manager, %s from nodes, %s from the cache", tui.Size(t.FromManager),
			tui.Size(t.FromNodes), tui.Size(t.FromCache))
	}
	field("Sent", "%s of images to other nodes", tui.Size(t.Sent))
	if t.BadPieces > 0 || t.Retries > 0 {
		field("Pieces", "%d bad, %d asked for again", t.BadPieces, t.Retries)
	}
}

func of(c api.Count) string { return fmt.Sprintf("%d/%d", c.Have, c.Want) }

func dockerState(d api.Docker) string {
	if d.Version == "" {
		return d.State + ", " + d.Host
	}
	return tui.ShortVersion(d.Version) + ", " + d.State + ", " + d.Host
}

func registryState(r api.Registry) string {
	parts := []string{r.Local}
	if r.ReadOnly {
		parts[0] += " (read-only)"
	}
	if r.Public != "" {
		parts = append(parts, r.Public)
	}
	if r.ReadOnly {
		parts = append(parts, tui.Size(r.Used)+" kept")
	} else {
		parts = append(parts, words.Count(r.Images, "image"))
	}
	parts = append(parts, tui.Size(r.Free)+" free")
	return strings.Join(parts, ", ")
}

func queueState(q api.Queue) string {
	parts := []string{q.Addr}
	if q.Serving {
		parts = append(parts, words.Count(int(q.Keys), "key"),
			fmt.Sprintf("%s of %s", tui.Size(q.Memory), tui.Size(q.MaxMemory)))
	} else {
		parts = append(parts, "not served")
	}
	return strings.Join(append(parts, q.Lacks...), ", ")
}
