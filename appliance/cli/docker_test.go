package cli

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// TestOfDocker wants what is named in the place of docker's commands to be there, with its flags.
func TestOfDocker(t *testing.T) {
	t.Parallel()
	for _, docker := range command.DockerCommands() {
		err := command.KnownCommand(New(command.Env{}), strings.Fields(docker))
		if err == nil {
			t.Errorf("docker %s: no error", docker)
			continue
		}
		_, here, _ := strings.Cut(err.Error(), "`crawlbox ")
		here, _, _ = strings.Cut(here, "`")
		cmd, rest, err := New(command.Env{}).Find(strings.Fields(here))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || !cmd.HasParent() || len(cmd.Flags().Args()) > 0 {
			t.Errorf("docker %s: there is no crawlbox %s: %v", docker, here, err)
		}
	}
}
