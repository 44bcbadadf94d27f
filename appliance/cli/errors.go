package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
	"github.com/crawlbox/crawlbox/systemd/journal"
	"github.com/crawlbox/crawlbox/systemd/notify"
)

// report prints err, one line for each error that is joined in it, and returns
// the exit code. A wrong command line is quoted in its error, and may have a
// join token in the wrong place.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, node.ErrLeft) {
		return exitLeft
	}
	if code := command.ExitError(0); errors.As(err, &code) {
		return int(code)
	}
	level := ""
	if journal.Is(w) {
		level = journal.ErrorPrefix
	}
	screen := tui.NewScreen(w, time.Now, false)
	for _, e := range words.SplitErrors(err) {
		if errors.Is(e, context.Canceled) {
			e = command.ErrInterrupted
		}
		_ = screen.Say(level + "crawlbox: " + command.WithoutJoin(words.OneLine(e.Error()+remedy(e))))
	}
	var usage *command.UsageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case notify.Listening() && enroll.Final(err):
		return exitFinal
	}
	return exitFailed
}

// remedy returns what the machine itself tells of how to mend an error.
func remedy(err error) string {
	switch {
	case errors.As(err, new(api.NotRunning)):
		cfg, err := configs.Load("")
		if err != nil {
			cfg = configs.Default()
		}
		return "; " + howToStart(install.LocalMachine(), cfg)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && !strings.Contains(err.Error(), "run as root"):
		return "; run as root (sudo)"
	}
	return ""
}

// howToStart says how a crawlbox comes to run here.
func howToStart(m *install.Machine, cfg configs.Config) string {
	const elsewhere = ", or run this on the manager"
	unit, _ := m.Installed()
	role := setup.RoleOf(cfg)
	replaced := setup.Replaced(cfg)
	switch {
	case replaced != nil:
		return replaced.Error()
	case setup.Moving(cfg):
		return "it follows its cluster, which was restored, to another manager; see how far it is with " +
			"`journalctl -u crawlbox`, and where that does not know this node, join again with " + naming.JoinAgain
	case systemd.Role(unit) != "":
		return "start it with `systemctl start crawlbox`, and see why it stopped with `journalctl -u crawlbox`"
	case role != "":
		return "start it with `crawlbox " + role + "`"
	case m.HasSystemd():
		return "make this server a node with `crawlbox install manager`, or with " +
			"`crawlbox install worker --join TOKEN`" +
			elsewhere
	}
	return "make this machine a node with `crawlbox manager`, or with `crawlbox worker --join TOKEN`" + elsewhere
}
