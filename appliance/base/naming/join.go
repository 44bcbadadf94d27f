package naming

import "os"

// UnitFile is the unit of systemd by which `crawlbox install` runs a node.
const UnitFile = "/etc/systemd/system/crawlbox.service"

// Join returns the command that makes another machine a node of a role, as this one was
// made one, up to the join token: for good where crawlbox is installed here, in the
// foreground otherwise.
func Join(role string) string { return joinBy(UnitFile, role) }

func joinBy(unit, role string) string {
	command := "crawlbox "
	if _, err := os.Lstat(unit); err == nil {
		command += "install "
	}
	return command + role + " --join "
}

// JoinAgain is what a machine that is no node, or no longer one, is told to run.
var JoinAgain = "`" + Join(RoleWorker) + "TOKEN`"
