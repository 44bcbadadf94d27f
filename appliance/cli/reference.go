package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Reference returns the command reference in Markdown: a table of all commands
// below root, then the flags that all of them have.
func Reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("| command | what it does | flags |\n|---|---|---|\n")
	writeCommands(&b, root)
	b.WriteString("\nEvery command also takes " + flagList(root.PersistentFlags()) + ".\n")
	return b.String()
}

// doesMore are the commands with others below them that do something alone.
var doesMore = map[string]bool{"images": true, "token": true}

func writeCommands(b *strings.Builder, parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		if !cmd.HasSubCommands() || doesMore[cmd.Name()] {
			use := strings.TrimSuffix(cmd.UseLine(), " [flags]")
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", escapeCell(use), escapeCell(cmd.Short), flagList(cmd.LocalNonPersistentFlags()))
		}
		writeCommands(b, cmd)
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
