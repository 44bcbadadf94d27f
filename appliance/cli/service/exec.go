package service

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

func ExecCmd(a *command.App) *cobra.Command {
	var r taskexec.Request
	var env []string
	cmd := &cobra.Command{
		Use:   "exec [flags] TASK COMMAND [ARGUMENT...]",
		Short: "Run a program in the container of a task, on any node",
		Long: `Run a program in the container of a task that runs, on whatever node that is.
The name of a service will do where it has one task. Flags stand before TASK;
what follows it is the program's. crawlbox ends with the program's exit code.

Use -it to type into it: Ctrl-C is the program's then. Without that Ctrl-C ends
the command, and the program runs on until it notices, as with 'docker exec'.`,
		Example: "  crawlbox exec spider.3 cat /etc/hosts\n  crawlbox exec -it spider.3 sh\n" +
			"  crawlbox exec -i spider.3 python3 - < look.py",
		Args: func(cmd *cobra.Command, args []string) error {
			variables, err := command.Variables("env", env)
			if err != nil {
				return command.Usagef(cmd, "%w", err)
			}
			for _, name := range slices.Sorted(maps.Keys(variables)) {
				r.Env = append(r.Env, name+"="+variables[name])
			}
			return command.AtLeast(2, "a task and a program, such as spider.3 sh")(cmd, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&r.Input, "interactive", "i", false, "give it what is typed or piped in")
	f.BoolVarP(&r.TTY, "tty", "t", false, "run it on a terminal")
	f.StringVarP(&r.User, "user", "u", "", "run it as this `user`, or user:group")
	f.StringVarP(&r.Dir, "workdir", "w", "", "run it in this `directory`")
	f.StringArrayVarP(&env, "env", "e", nil, "`variable` NAME=VALUE; NAME alone: as it is here")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.Complete(command.TaskNames)(cmd, args, text)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.Task, r.Command = args[0], args[1:]
		if r.Command[0] == "--" {
			r.Command = r.Command[1:]
		}
		if !r.Valid() {
			return command.Usagef(cmd, "exec needs a task and a program, such as spider.3 sh")
		}
		if r.TTY && r.Input && !tui.IsTerminal(a.Env.Stdin) {
			return command.Usagef(cmd, "--tty with --interactive needs a terminal, and the input is none; leave out -t")
		}
		return execute(cmd.Context(), a, r)
	}
	return cmd
}

func execute(ctx context.Context, a *command.App, r taskexec.Request) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	terminal := r.TTY && tui.IsTerminal(a.Env.Stdout)
	if terminal {
		r.Size.Width, r.Size.Height = tui.Characters(a.Env.Stdout)
	}
	conn, err := c.Execute(ctx, r)
	if err != nil {
		return err
	}
	streams := taskexec.Streams{Out: a.Env.Stdout, Err: a.Env.Stderr}
	if terminal { // the program's, which the user has given it
		streams.Out = tui.Bare(a.Env.Stdout)
	}
	if r.Input {
		streams.In = a.Env.Stdin
	}
	if r.TTY && r.Input {
		restore, err := tui.Raw(a.Env.Stdin)
		if err != nil {
			conn.Close()
			return err
		}
		defer restore()
	}
	if terminal {
		sizes := make(chan taskexec.Size)
		streams.Sizes = sizes
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go tui.Resized(ctx, a.Env.Stdout, func(width, height uint16) {
			select {
			case sizes <- taskexec.Size{Width: width, Height: height}:
			case <-ctx.Done():
			}
		})
	}
	code, err := taskexec.Run(ctx, conn, streams)
	if err != nil {
		return err
	}
	return command.Exit(code)
}
