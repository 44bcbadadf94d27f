package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/node"
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
	level := ""
	if journal.Is(w) {
		level = journal.ErrorPrefix
	}
	for _, e := range command.SplitErrors(err) {
		if errors.Is(e, context.Canceled) {
			e = command.ErrInterrupted
		}
		fmt.Fprintf(w, "%scrawlbox: %s\n", level, command.WithoutJoin(words.OneLine(e.Error())))
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
