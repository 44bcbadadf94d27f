// Package alerts has the commands of alerts: to see what is wrong and who was told, to try the channels, and to keep
// alerts quiet for a while. What is told and where to is in crawlbox.yaml, so that it is reviewed as services are.
package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/configs"
)

func Cmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{
		Use:        "alerts",
		Short:      "See what people are told of, and try how",
		SuggestFor: []string{"alert", "notify", "notifications"},
	}, lsCmd(a), testCmd(a), silenceCmd(a), unsilenceCmd(a))
}

func lsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List alerts, silences, and the channels that alerts are told on",
		Long: `List alerts, silences, and the channels that alerts are told on, as
crawlbox.yaml defines them; see crawlbox help alerts.`,
		Example: "  crawlbox alerts ls",
		Args:    command.NoArgs,
	}
	return command.WatchesAll(a, cmd, (*api.Client).Alerts, render)
}

func render(s tui.Screen, v api.AlertsSeen) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "RULE", Min: 12}, {Head: "ABOUT", Min: 8}, {Head: "SINCE"}, {Head: "STATE"},
	}}
	for _, one := range v.Alerts {
		t.Add(tui.Text(one.Rule), tui.Text(one.Subject), tui.Text(s.Since(one.Since)), state(one))
		t.Note(one.Text)
	}
	if len(v.Alerts) > 0 {
		t.Write(s)
	}
	for _, x := range v.Silences {
		text := fmt.Sprintf("silence of %s until %s, by %s", x.Of, x.Until.Local().Format(time.DateTime), x.By)
		if x.Reason != "" {
			text += ": " + x.Reason
		}
		_ = s.Say(text)
	}
	c := tui.Table{Columns: []tui.Column{{Head: "CHANNEL", Min: 8}, {Head: "TYPE"}, {Head: "STATE"}}}
	for _, ch := range v.Channels {
		is := tui.Styled("ready", tui.Green)
		switch {
		case ch.Why != "" && ch.Failing.IsZero():
			is = tui.Styled("can't be used", tui.Red)
		case ch.Why != "":
			is = tui.Styled(fmt.Sprintf("failing for %s, %d waiting", s.Since(ch.Failing), ch.Waiting), tui.Red)
		case ch.Waiting > 0:
			is = tui.Styled(fmt.Sprintf("%d waiting", ch.Waiting), tui.Yellow)
		}
		c.Add(tui.Text(ch.Name), tui.Text(ch.Type), is)
		if ch.Why != "" {
			c.Note(ch.Why)
		}
	}
	c.Write(s)
	if len(v.Channels) == 0 {
		_ = s.Say("nobody is told: no channel is in force, see `crawlbox help alerts`; `crawlbox config check` " +
			"says what keeps one in crawlbox.yaml from it")
	}
	footer(s, v)
}

func footer(s tui.Screen, v api.AlertsSeen) {
	if d := v.Deadman; d != nil {
		text := "dead man's switch: not called yet"
		if !d.Called.IsZero() {
			text = "dead man's switch: called " + s.Since(d.Called) + " ago"
		}
		if d.Why != "" {
			text += ", and not since: " + d.Why
		}
		_ = s.Say(text)
	}
	if v.Lost > 0 {
		_ = s.Say(words.Count(v.Lost, "message") + " could not be told, and will not be")
	}
	if v.Untold > 0 {
		_ = s.Say(fmt.Sprintf("there are %d more alerts than fit", v.Untold))
	}
}

func state(one api.Alert) tui.Cell {
	switch {
	case one.Silenced:
		return tui.Styled("silenced", tui.Dim)
	case !one.Gone.IsZero():
		return tui.Styled("well again", tui.Green)
	case one.Told.IsZero():
		return tui.Styled("new", tui.Yellow)
	case one.Waiting > 0:
		return tui.Styled("waits for a channel", tui.Yellow)
	}
	return tui.Styled("told", tui.Red)
}

func testCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [CHANNEL]",
		Short: "Send a test on a channel, or on all",
		Long: `Send a test on a channel, or on all of them, from the manager that leads, as
alerts are. It says what a receiver answers that does not take it, and fails.`,
		Example:           "  crawlbox alerts test\n  crawlbox alerts test ops",
		Args:              command.AtMostOne("one channel"),
		ValidArgsFunction: a.CompleteOne(command.ChannelNames),
	}
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		list, err := c.TestAlerts(cmd.Context(), first(args))
		if err != nil {
			return err
		}
		failed := 0
		for _, t := range list {
			if t.Error != "" {
				failed++
			}
		}
		if *asJSON {
			err = a.PrintJSON(list)
		} else {
			err = say(a, list)
		}
		if err == nil && failed > 0 {
			err = fmt.Errorf("%d of %d channels did not take the test", failed, len(list))
		}
		return err
	})
	return cmd
}

func say(a *command.App, list []api.AlertTest) error {
	for _, t := range list {
		text := t.Channel + ": the test was taken"
		if t.Error != "" {
			text = t.Channel + ": " + t.Error
		}
		if err := a.Say("%s", text); err != nil {
			return err
		}
	}
	return nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func silenceCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "silence RULE|SUBJECT|all",
		Short: "Keep alerts from being told for a time",
		Long: `Keep alerts of a rule, those about a node, service or schedule, or all of them
from being told for a time. What still goes on then is told at its end.

crawlbox alerts ls lists silences, crawlbox alerts unsilence ends one.`,
		Example: `  crawlbox alerts silence h3 --for 2h --reason "new disk"
  crawlbox alerts silence run-slow --for 1d`,
		Args: command.ExactlyOne("one rule, subject or all"),
	}
	cmd.ValidArgsFunction = a.CompleteOne(func(context.Context, *api.Client) ([]string, error) {
		return append([]string{"all"}, configs.AlertRules...), nil
	})
	span := command.Span(2 * time.Hour)
	req := api.SilenceRequest{}
	cmd.Flags().Var(&span, "for", "`time` that it lasts: 2h, 1d")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "`text` that says why")
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		req.Of, req.For = args[0], time.Duration(span)
		err := c.SilenceAlerts(cmd.Context(), req)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return a.PrintJSON(req)
		}
		return a.Say("alerts of %s are not told for %s; `crawlbox alerts unsilence %[1]s` ends that", req.Of, &span)
	})
	return cmd
}

func unsilenceCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "unsilence RULE|SUBJECT|all...",
		Short:   "End silences; what goes on is told",
		Example: "  crawlbox alerts unsilence h3",
	}, "a silence", command.SilenceNames, (*api.Client).UnsilenceAlerts, "alerts of %s are told again")
}
