// Command man writes a man page for each command, for those who package crawlbox:
// man DIRECTORY VERSION. It is a program of its own so that what formats them is no part
// of crawlbox.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/crawlbox/crawlbox/appliance/cli"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man DIRECTORY VERSION")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// write writes the pages, in section 8: administrators run crawlbox. Their date is now or
// that of SOURCE_DATE_EPOCH.
func write(dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cli.New(command.Env{})
	root.DisableAutoGenTag = true
	keepIndented(root)
	return doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "crawlbox " + version, Manual: "crawlbox"}, dir)
}

// keepIndented makes the indented lines of descriptions blocks that Markdown, which the
// pages are made of, leaves as they are.
func keepIndented(cmd *cobra.Command) {
	cmd.Long = strings.ReplaceAll(cmd.Long, "\n  ", "\n    ")
	for _, c := range cmd.Commands() {
		keepIndented(c)
	}
}
