package cli

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

func completionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell. To have it in every new shell:

  crawlbox completion bash > /etc/bash_completion.d/crawlbox
  crawlbox completion zsh > "${fpath[1]}/_crawlbox"
  crawlbox completion fish > ~/.config/fish/completions/crawlbox.fish`,
		Args:      command.ExactlyOne("one of bash, zsh and fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return command.Usagef(cmd, "unknown shell %q; it is bash, zsh or fish", args[0])
		},
	}
}
