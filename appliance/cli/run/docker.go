package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

const (
	// aptTimeout bounds the installation of Docker: apt may wait for another apt.
	aptTimeout = 15 * time.Minute
	// engineTimeout bounds how long a Docker that was just installed takes to answer.
	engineTimeout = time.Minute
)

func dockerFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("install-docker", false, "install Docker with apt if there is none")
}

// EnsureDocker installs Docker where there is none and the user wants it: by the flag
// or, on a terminal, by the answer to a question. Otherwise it does nothing, and the
// start says what is missing. dry only prints what would be done.
func EnsureDocker(a *command.App, cmd *cobra.Command, cfg configs.Config, dry bool) error {
	wanted, _ := cmd.Flags().GetBool("install-docker")
	person := answerTerminal(a, cmd)
	if !wanted && (person == nil || dry) {
		return nil
	}
	engine, err := swarm.Open(cfg.Docker.Host)
	if err != nil {
		return err
	}
	defer engine.Close()
	if !absent(cmd.Context(), engine) {
		return nil
	}
	if err := doctor.Root(); err != nil && !dry {
		return err
	}
	machine := install.LocalMachine()
	bare, err := machine.LookDocker(cmd.Context())
	if err != nil {
		return err
	}
	plan, err := install.PlanDocker(bare)
	switch {
	case err != nil && wanted:
		return err
	case err != nil:
		return nil // the start says that there is no Docker
	case !wanted && !agrees(a, cmd.Context(), person, plan):
		return nil
	case dry:
		PrintSteps(a, plan)
		return nil
	}
	return installDocker(a, cmd.Context(), machine, plan, engine)
}

// absent reports whether an engine of this machine does not answer; one of another machine
// is not its business.
func absent(ctx context.Context, engine *swarm.Engine) bool {
	return errors.Is(engine.Ping(ctx), swarm.ErrUnreachable) && engine.IsDefault()
}

// MissesDocker says that there is no Docker on this machine: a node that is installed
// would only fail again and again. One that is stopped will be started at boot, and
// --docker-host may name another machine's.
func MissesDocker(a *command.App, ctx context.Context, machine *install.Machine, cfg configs.Config) error {
	if machine.TraceOfDocker() != "" {
		return nil
	}
	engine, err := swarm.Open(cfg.Docker.Host)
	if err != nil {
		return err
	}
	defer engine.Close()
	if !absent(ctx, engine) {
		return nil
	}
	return errors.New("there is no Docker on this machine, and nothing was changed; install it (apt-get install " +
		"docker.io), or run this again with --install-docker")
}

// answerTerminal returns the terminal on which a user can answer, nil if there is none: where
// the join token comes in by stdin, as in the line of `crawlbox token --bootstrap`, it
// is the one that this was run on.
func answerTerminal(a *command.App, cmd *cobra.Command) *os.File {
	if !tui.IsTerminal(a.Env.Stderr) {
		return nil
	}
	if tui.IsTerminal(a.Env.Stdin) {
		return a.Env.Stdin.(*os.File)
	}
	if file, _ := cmd.Flags().GetString("join-file"); file != "-" {
		return nil
	}
	tty, err := os.Open("/dev/tty") // until the end of the process
	if err != nil {
		return nil
	}
	return tty
}

func agrees(a *command.App, ctx context.Context, person io.Reader, plan install.Plan) bool {
	asks := *a
	asks.Env.Stdin = person
	yes, err := asks.Confirm(ctx, fmt.Sprintf("There is no Docker on this machine. %s. Install it with apt?",
		strings.Join(plan.Notes, ". ")))
	return err == nil && yes
}

func installDocker(a *command.App, ctx context.Context, machine *install.Machine, plan install.Plan,
	engine *swarm.Engine) error {
	apt, cancel := context.WithTimeoutCause(ctx, aptTimeout, fmt.Errorf("apt took longer than %s", aptTimeout))
	defer cancel()
	switch err := Do(a, apt, machine, plan); {
	case err != nil && strings.Contains(err.Error(), "/usr/bin/dpkg returned an error"):
		return fmt.Errorf("install Docker: %w; /var/log/apt/term.log tells more", err)
	case err != nil:
		return fmt.Errorf("install Docker: %w; mend that and run this again", err)
	}
	ctx, cancel = context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	for {
		err := engine.Ping(ctx)
		if err == nil {
			return a.Printf("Docker is installed and answers\n")
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("Docker is installed and does not answer within %s; see why with `journalctl -u "+
				"docker`, or start it as this system starts services: %w", engineTimeout, err)
		}
	}
}

// PrintSteps shows the steps of a plan, with the text of units that it writes.
func PrintSteps(a *command.App, p install.Plan) {
	printEach(a, p.Notes)
	for _, step := range p.Steps {
		_ = a.Printf("%s\n", step)
		if w, ok := step.(install.Write); ok &&
			(strings.HasPrefix(w.Path, systemd.Dir) || strings.HasSuffix(w.Path, ".list")) {
			_ = a.Printf("    %s\n", strings.ReplaceAll(strings.TrimSpace(w.Text), "\n", "\n    "))
		}
	}
}

// Do makes the changes of a plan and prints its notes, and each step that is done.
func Do(a *command.App, ctx context.Context, machine *install.Machine, p install.Plan) error {
	printEach(a, p.Notes)
	return machine.Do(ctx, p, func(s install.Step) { _ = a.Printf("%s\n", s) })
}

func printEach(a *command.App, lines []string) {
	for _, line := range lines {
		_ = a.Say("%s", line)
	}
}
