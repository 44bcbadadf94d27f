package cli

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func statusCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this node, its cluster and what is wrong with them",
		Args:  noArgs,
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) (api.Status, error) {
		return c.Status(ctx)
	}, a.renderStatus)
}

func (a *app) renderStatus(s screen, st api.Status) {
	field := func(name, format string, args ...any) {
		fmt.Fprintln(s.w, s.fit(fmt.Sprintf("%-10s "+format, append([]any{name + ":"}, args...)...)))
	}
	field("Node", "%s (%s), %s", st.Node, st.Mode, st.Addr)
	field("Crawlbox", "%s, up %s", st.Version, a.since(st.Started))
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
	fmt.Fprintln(s.w, "\nProblems:")
	for _, p := range st.Problems {
		writeProblem(s, oneLine(p))
	}
}

// writeTraffic says where images came from and went to.
func writeTraffic(field func(name, format string, args ...any), r api.Registry) {
	t := r.Traffic
	if r.ReadOnly {
		field("Pulled", "%s from the manager, %s from nodes, %s from the cache", size(t.FromManager), size(t.FromNodes), size(t.FromCache))
	}
	field("Sent", "%s of images to other nodes", size(t.Sent))
	if t.BadPieces > 0 || t.Retries > 0 {
		field("Pieces", "%d bad, %d asked for again", t.BadPieces, t.Retries)
	}
}

func of(c api.Count) string { return fmt.Sprintf("%d/%d", c.Have, c.Want) }

func dockerState(d api.Docker) string {
	if d.Version == "" {
		return d.State + ", " + d.Host
	}
	return shortVersion(d.Version) + ", " + d.State + ", " + d.Host
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
		parts = append(parts, size(r.Used)+" kept")
	} else {
		parts = append(parts, count(r.Images, "image"))
	}
	parts = append(parts, size(r.Free)+" free")
	return strings.Join(parts, ", ")
}

func queueState(q api.Queue) string {
	parts := []string{q.Addr}
	if q.Serving {
		parts = append(parts, count(int(q.Keys), "key"), fmt.Sprintf("%s of %s", size(q.Memory), size(q.MaxMemory)))
	} else {
		parts = append(parts, "not served")
	}
	return strings.Join(append(parts, q.Lacks...), ", ")
}

// writeProblem breaks a sentence between its words, as no terminal does.
func writeProblem(s screen, text string) {
	line := "  " + s.styled(red, "!")
	used := 3
	for word := range strings.FieldsSeq(text) {
		n := 1 + utf8.RuneCountInString(word)
		if s.width > 0 && used+n > s.width && used > 3 {
			fmt.Fprintln(s.w, line)
			line, used = "   ", 3
		}
		line += " " + word
		used += n
	}
	fmt.Fprintln(s.w, line)
}
