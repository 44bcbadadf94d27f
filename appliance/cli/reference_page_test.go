package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// referenceHead begins the page of the manual that lists all commands.
const referenceHead = `# Every command and flag

<!-- Generated from the command tree by make help. -->

Commands speak to the crawlbox that runs on the machine, and those that change the cluster need a manager. They want root, or
the group that ` + "`socket_group`" + ` names. All that read take ` + "`--json`" + `, for programs.

Exit codes: 0 done, 1 failed, 2 wrong usage. As a service of systemd, crawlbox ends with 3 when its node has left the cluster
and with 4 when it cannot join before a person does something; it is then not started again.

Every command also takes %s. ` + "`crawlbox COMMAND --help`" + ` says what each flag means. Completion for a shell:
` + "`crawlbox completion bash`" + `, ` + "`zsh` or `fish`" + `.
`

// referencePage returns the command reference in Markdown: the flags that all commands
// have, then a table of the commands of each group.
func referencePage(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, referenceHead, flagList(root.PersistentFlags()))
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| command | what it does | flags |\n|---|---|---|\n",
			strings.TrimSuffix(g.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == g.ID {
				writeCommand(&b, cmd)
			}
		}
	}
	return b.String()
}

// doesMore lists the commands with others below them that do something alone.
var doesMore = map[string]bool{"images": true, "token": true}

// writeCommand writes the rows of a command and of those below it.
func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Hidden {
		return
	}
	if !cmd.HasSubCommands() || doesMore[cmd.Name()] {
		use := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", escapeCell(use), escapeCell(cmd.Short),
			flagList(cmd.LocalNonPersistentFlags()))
	}
	for _, sub := range cmd.Commands() {
		writeCommand(b, sub)
	}
}

func flagList(flags *pflag.FlagSet) string {
	var list []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, _ := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		if value != "" {
			text += " " + strings.ToUpper(value)
		}
		list = append(list, "`"+text+"`")
	})
	return strings.Join(list, " ")
}

func escapeCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
