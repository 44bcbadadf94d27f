package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// bashHelpers are what cobra's script takes of the package bash-completion, for a shell
// without it: words are what stands between spaces.
const bashHelpers = `# Without the package bash-completion there is enough of it for crawlbox.
if ! declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref() {
        local line=${COMP_LINE:0:COMP_POINT}
        read -ra words <<<"$line"
        [[ $line == *[[:space:]] ]] && words+=("")
        cword=$((${#words[@]} - 1))
        cur=${words[cword]} prev=${words[cword - 1]}
    }
    __ltrim_colon_completions() {
        local i before=${1%"${1##*:}"}
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$before"}
        done
    }
    _filedir() { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); }
fi

`

func completionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell. To have it in every new shell:

  echo 'source <(crawlbox completion bash)' >> ~/.bashrc
  crawlbox completion zsh > "${fpath[1]}/_crawlbox"
  crawlbox completion fish > ~/.config/fish/completions/crawlbox.fish`,
		Example:   "  source <(crawlbox completion bash)",
		Args:      command.ExactlyOne("one of bash, zsh and fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				if _, err := io.WriteString(out, bashHelpers); err != nil {
					return err
				}
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
