package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/help"
)

// helpCmd shows a page of the manual or, where there is none of that name, the help
// of a command.
func helpCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "help [TOPIC|COMMAND]",
		Short: "Show a page of the manual, or the help of a command",
		Long: `Show a page of the manual, or the help of a command. Where both have one name,
as deploy has, it is the page; 'crawlbox deploy --help' shows the command's.

On a terminal it is shown by $PAGER, or by less.`,
		Example:           "  crawlbox help\n  crawlbox help deploy\n  crawlbox help node rm",
		ValidArgsFunction: completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if topic, ok := help.Lookup(args[0]); ok {
					return showTopic(a, cmd, topic)
				}
			}
			target, rest, err := cmd.Root().Find(args)
			if err != nil {
				return command.Usagef(cmd.Root(), "%w", err)
			}
			if target == cmd.Root() && len(rest) > 0 && len(command.Guesses(target, rest[0])) == 0 {
				return unknownTopic(target, rest[0])
			}
			if err := command.KnownCommand(target, rest); err != nil {
				return err
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}

func unknownTopic(root *cobra.Command, name string) error {
	var topics []string
	for _, topic := range help.Topics() {
		topics = append(topics, topic.Name)
	}
	if near := words.Nearest(name, topics); near != "" {
		return command.Usagef(root, "there is no topic or command %q (did you mean %s?)", name, near)
	}
	return command.Usagef(root, "there is no topic or command %q; the topics are %s", name, strings.Join(topics, ", "))
}

func completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []string
	if len(args) == 0 {
		for _, topic := range help.Topics() {
			list = append(list, cobra.CompletionWithDesc(topic.Name, topic.Title))
		}
	}
	target, rest, err := cmd.Root().Find(args)
	if err == nil && len(rest) == 0 {
		for _, c := range target.Commands() {
			_, isTopic := help.Lookup(c.Name())
			if c.IsAvailableCommand() && (len(args) > 0 || !isTopic) {
				list = append(list, cobra.CompletionWithDesc(c.Name(), c.Short))
			}
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func showTopic(a *command.App, cmd *cobra.Command, topic help.Topic) error {
	s := a.Stdout()
	var styles help.Styles
	if s.Colors > 0 {
		strong := func(text string) string { return s.Styled(tui.Bold, text) }
		styles = help.Styles{Heading: strong, Strong: strong, Code: strong}
	}
	text := help.Render(topic.Text, s.Width, styles)
	if isCommand(cmd.Root(), topic.Name) {
		text += fmt.Sprintf("\nThe flags of the command: crawlbox %s --help\n", topic.Name)
	}
	return s.Page(text)
}

func isCommand(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
}

// withTopics lists the pages of the manual below the help of crawlbox itself.
func withTopics(show func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, args []string) {
		show(cmd, args)
		if cmd.HasParent() {
			return
		}
		out := cmd.OutOrStdout()
		fmt.Fprint(out, "\nThe manual, shown by 'crawlbox help TOPIC':\n")
		for _, topic := range help.Topics() {
			fmt.Fprintf(out, "  %-16s %s\n", topic.Name, topic.Title)
		}
	}
}
