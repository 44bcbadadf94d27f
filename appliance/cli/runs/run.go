// Package runs has the commands of runs: to begin one, to look at what they did, to stop one. A run is begun here, with
// the user's files where it is of a directory, and followed from here; the manager that leads sees to its end.
package runs

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/deploy"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// begin are the flags of what begins a run.
type begin struct {
	json, wait *bool
}

func beginFlags(cmd *cobra.Command) begin {
	return begin{
		json: command.JSONFlag(cmd),
		wait: cmd.Flags().BoolP("wait", "w", false, "follow its log, and end with its exit code"),
	}
}

// begun shows a run that has been begun, or follows it.
func (b begin) begun(a *command.App, ctx context.Context, c *api.Client, r runs.Record) error {
	switch {
	case *b.wait:
		return follow(a, ctx, c, r, *b.json)
	case *b.json:
		return a.PrintJSON(r)
	}
	return a.Say("%s has begun; `crawlbox run show %[1]s` says how it is, `crawlbox logs -f %[1]s` what it writes",
		r.ID)
}

// DefaultRetries is how often a task begins again that fails, unless the user says otherwise.
const DefaultRetries = 2

func RunCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run SERVICE|IMAGE|PATH [-- COMMAND...]",
		Short: "Run a service, an image or a directory once",
		Long: `Run something once: a service as it is now, beside its replicas, or an image, or
a directory or program, which is built. It gets the image, networks, mounts,
secrets, variables and limits of its service. When all its tasks have ended,
what became of them is kept, see crawlbox runs.

An argument -a key=value goes to Scrapy as -a key=value, to another program as
--key=value, and to each as the variable CRAWLBOX_ARG_KEY. What is behind --
runs in place of the service's or image's own command.

A task that fails begins again, --retries times; so does one whose node is lost,
on another node. With --retries 0 it does not, whatever it ended by. After
--timeout the run is ended, from when it was asked for: with SIGTERM, and after
its grace time with SIGKILL.

With --wait the exit code is that of the run: 0 where all tasks ended with 0,
that of the first task which failed, 124 after its timeout, 143 where somebody
stopped it.`,
		Example: `  crawlbox run spider -a site=shop -a pages=10 --timeout 6h
  crawlbox run spider --replicas 3 --wait
  crawlbox run localhost:8003/spider:0.02 -- scrapy crawl quotes
  crawlbox run ./spider --name first-try`,
		Args:              oneThing,
		ValidArgsFunction: a.CompleteOr(command.ServiceNames),
	}
	var req api.RunRequest
	var args, envs []string
	var timeout command.Span
	f := cmd.Flags()
	f.StringArrayVarP(&args, "arg", "a", nil, "`argument` key=value of the spider")
	f.StringArrayVarP(&envs, "env", "e", nil, "`variable` NAME=VALUE; NAME alone: as it is here")
	f.IntVar(&req.Replicas, "replicas", 1, "`number` of tasks at a time")
	f.IntVar(&req.Retries, "retries", DefaultRetries, "`times` that a task begins again which fails")
	f.Var(&timeout, "timeout", "`time` after which it is ended: 6h, 1d")
	f.StringVar(&req.Name, "name", "", "`name` of the run (default: made up)")
	b := beginFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) (err error) {
		if err := check(cmd, &req, args, envs); err != nil {
			return err
		}
		req.Timeout = time.Duration(timeout)
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			req.Command = words[n:]
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		if err := choose(a, cmd.Context(), c, words[0], &req, b.json); err != nil {
			return err
		}
		r, err := c.Begin(cmd.Context(), req)
		if err != nil {
			return err
		}
		return b.begun(a, cmd.Context(), c, r)
	}
	cmd.AddCommand(showCmd(a), stopCmd(a), rmCmd(a))
	return cmd
}

// oneThing wants one word before -- and, where that is there, some behind it.
func oneThing(cmd *cobra.Command, words []string) error {
	before := words
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		if before = words[:n]; len(words) == n {
			return command.Usagef(cmd, "there is no command behind --")
		}
	}
	return command.ExactlyOne("a service, an image or a directory")(cmd, before)
}

// check reads what flags say, and refuses what is sure to be wrong.
func check(cmd *cobra.Command, req *api.RunRequest, args, envs []string) (err error) {
	if req.Args, err = Arguments(args); err == nil {
		req.Env, err = command.Variables("env", envs)
	}
	if err != nil {
		return command.Usagef(cmd, "%w", err)
	}
	spec := runs.Spec{ID: "run", Args: req.Args, Replicas: req.Replicas, Retries: req.Retries}
	if req.Name != "" {
		spec.ID = req.Name
	}
	if req.Replicas < 1 || req.Replicas > bound.MaxReplicas {
		return command.Usagef(cmd, "--replicas is %d; it is a number from 1 to %d", req.Replicas, bound.MaxReplicas)
	}
	if req.Retries < 0 || req.Retries > runs.MaxRetries {
		return command.Usagef(cmd, "--retries is %d; it is a number from 0 to %d", req.Retries, runs.MaxRetries)
	}
	if err := naming.CheckService(spec.ID); err != nil {
		return command.Usagef(cmd, "--name: %w", err)
	}
	if err := spec.Check(); err != nil {
		return command.Usagef(cmd, "%w", err)
	}
	return nil
}

// Arguments reads those of a spider, key=value each.
func Arguments(given []string) (map[string]string, error) {
	args := map[string]string{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, errors.New("--arg wants key=value; the key has letters, digits, _ - and .")
		}
		args[name] = value
	}
	return args, nil
}

// choose says what a word is: a path, a service that runs, else something here, else an image.
func choose(a *command.App, ctx context.Context, c *api.Client, word string, req *api.RunRequest,
	asJSON *bool) (err error) {
	if !deploy.IsPath(word) {
		services, err := c.Services(ctx)
		if err != nil {
			return err
		}
		for _, svc := range services {
			if svc.Name == word {
				req.Service = word
				return nil
			}
		}
		if _, err := os.Stat(word); err != nil {
			if req.Service = word; strings.ContainsAny(word, ":/@") {
				req.Service, req.Image = "", word
			}
			return nil
		}
	}
	req.Image, err = deploy.Image(a, ctx, c, word, asJSON)
	return err
}

func RerunCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Run once more as another run was",
		Long: `Run once more as another run was: with its image, arguments, variables, command,
replicas, retries and timeout. What else its service has is as it is now.`,
		Example:           "  crawlbox rerun spider-20260101-030000-x7q\n  crawlbox rerun first-try --wait",
		Args:              command.ExactlyOne("one run"),
		ValidArgsFunction: a.CompleteOne(command.RunNames),
	}
	b := beginFlags(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		r, err := c.Rerun(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return b.begun(a, cmd.Context(), c, r)
	})
	return cmd
}
