package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

// Question is what a user is asked before a command does what nothing takes back.
type Question struct {
	Why string // what comes of it, without a full stop; empty: nothing that Do does not say
	Do  string // what is about to be done: delete 3 items of urls
	Not string // what is said where the answer is no: urls: nothing deleted
}

// text returns the question. Why stays as it is: it may begin with the name of a node.
func (q Question) text() string {
	text := strings.ToUpper(q.Do[:1]) + q.Do[1:] + "?"
	if q.Why != "" {
		text = q.Why + ". " + text
	}
	return text
}

// YesFlag adds --yes, which answers a Question before it is asked.
func YesFlag(cmd *cobra.Command) *bool { return cmd.Flags().BoolP("yes", "y", false, "do not ask") }

// Sure returns nil where the user of a terminal answers a question with yes. Where nobody can be
// asked the command line was wrong: it lacks YesFlag.
func (a *App) Sure(cmd *cobra.Command, q Question) error {
	if !tui.IsTerminal(a.Env.Stdin) {
		why := q.Why
		if why != "" {
			why += "; "
		}
		return Usagef(cmd, "%snobody can be asked here: say --yes to %s", why, q.Do)
	}
	yes, err := a.Confirm(cmd.Context(), q.text())
	if err == nil && !yes {
		return errors.New(q.Not)
	}
	return err
}

// Ask reads one line, or until ctx ends: a read from a terminal does not end by
// itself, but the process does.
func Ask(ctx context.Context, env Env) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(env.Stdin).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		return text, nil
	case <-ctx.Done():
		fmt.Fprintln(env.Stderr)
		return "", ctx.Err()
	}
}

// Confirm asks a question on a terminal, and reports whether the answer is yes.
func (a *App) Confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.Env.Stderr, strings.Join(a.Stderr().Sentence(question+" [y/N]"), "\n")+" ")
	answer, err := Ask(ctx, a.Env)
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", err
}
