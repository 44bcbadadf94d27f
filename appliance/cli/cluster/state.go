package cluster

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/configs"
)

// StateCmd returns crawlbox state.
func StateCmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{
		Use:   "state",
		Short: "Look at the cluster's state on this machine's disk",
		Long: `Look at the cluster's state on this machine's disk: the documents that a manager
keeps, such as its CA, join tokens and members. It needs no running crawlbox.`,
	}, stateShowCmd(a), stateLogCmd(a))
}

// short is how much of the ID of a commit is shown.
const short = 12

func stateLogCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "List the last changes of the state",
		Long: `List the last changes of the cluster's state that this manager keeps, the newest
first. crawlbox state show --at ID shows the documents as they were then.`,
		Example: "  crawlbox state log",
		Args:    command.NoArgs,
	}
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := configs.Load(a.Config)
		if err != nil {
			return err
		}
		views, err := state.Log(state.Dir(cfg.DataDir))
		if err != nil {
			return err
		}
		var list []stateChange
		for _, v := range views {
			list = append(list, stateChange{v.Head, v.Commit, v.Changed})
		}
		return command.Show(a, *asJSON, list, renderStateLog)
	}
	return cmd
}

// stateChange is a commit of the state.
type stateChange struct {
	ID state.Version `json:"id"`
	state.Commit
	Changed []string `json:"changed"`
}

func renderStateLog(s tui.Screen, list []stateChange) {
	t := tui.Table{Columns: []tui.Column{{Head: "ID"}, {Head: "TIME"}, {Head: "BY"}, {Head: "CHANGED"}, {Head: "WHAT"}}}
	for _, c := range list {
		t.Add(tui.Text(string(c.ID[:short])), tui.Text(c.Time.Local().Format(time.DateTime)), tui.Text(c.Author),
			tui.Text(strings.Join(c.Changed, " ")), tui.Text(c.Message))
	}
	t.Write(s)
}

// lookAt returns the state after a commit, by its ID or the beginning of it; empty: the newest.
func lookAt(dir, id string) (*state.View, error) {
	if id == "" {
		return state.Look(dir)
	}
	views, err := state.Log(dir)
	if err != nil {
		return nil, err
	}
	var found []*state.View
	for _, v := range views {
		if strings.HasPrefix(string(v.Head), id) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no change %.70q of the state is kept here; `crawlbox state log` lists them", id)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d changes of the state begin with %q; give more of the ID", len(found), id)
}

func stateShowCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "List the documents, or print one",
		Long: `List the documents of the cluster's state, or print one. Private keys and
secrets are shown as stars, unless with --secrets.`,
		Example: "  crawlbox state show\n  crawlbox state show members",
		Args:    command.AtMostOne("one document"),
	}
	secrets := cmd.Flags().Bool("secrets", false, "print private keys and secrets too")
	at := cmd.Flags().String("at", "", "as it was after the change with this `ID`, of crawlbox state log")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := configs.Load(a.Config)
		if err != nil {
			return err
		}
		view, err := lookAt(state.Dir(cfg.DataDir), *at)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return command.Show(a, false, view, renderState)
		}
		data, err := view.Document(args[0])
		if err != nil {
			return err
		}
		if !*secrets {
			if data, err = redact(data); err != nil {
				return err
			}
		}
		return a.Printf("%s", data)
	}
	return cmd
}

const stars = "********"

var (
	privateKey = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----\n).*?(\n-----END)`)
	secretKey  = map[string]bool{"keys": true, "next": true, "hash": true} // beside those that name a secret
)

// redact returns a document with stars in place of private keys and secrets, those of the services
// in a history too.
func redact(data []byte) ([]byte, error) {
	var doc any
	if json.Unmarshal(data, &doc) != nil {
		return privateKey.ReplaceAll(data, []byte("${1}"+stars+"${2}")), nil
	}
	doc, err := configs.HideSecrets(hideKeys(doc))
	if err != nil {
		return nil, err
	}
	data, err = json.MarshalIndent(doc, "", "  ")
	return append(data, '\n'), err
}

func hideKeys(v any) any {
	switch v := v.(type) {
	case string:
		if arg, ok := strings.CutPrefix(v, "build-arg="); ok { // of what an image was built with
			name, _, _ := strings.Cut(arg, "=")
			return "build-arg=" + name + "=" + stars
		}
	case []any:
		for i := range v {
			v[i] = hideKeys(v[i])
		}
	case map[string]any:
		for key, value := range v {
			if v[key] = hideKeys(value); secretKey[key] {
				v[key] = stars
			}
		}
	}
	return v
}

func renderState(s tui.Screen, view *state.View) {
	c := view.Commit
	fmt.Fprintf(s.W, "head %s\nby %s at %s: %s\n\n", view.Head, c.Author, c.Time.Local().Format(time.DateTime),
		c.Message)
	t := tui.Table{Columns: []tui.Column{{Head: "NAME"}, {Head: "SIZE"}, {Head: "CONTENT"}}}
	for _, e := range view.Documents {
		t.Add(tui.Text(e.Name), tui.Text(tui.Size(int64(e.Size))), tui.Text(e.Hash[:short]))
	}
	t.Write(s)
}
