package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/configs"
)

func configCmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{Use: "config", Short: "Check, show or make a config file"},
		configCheckCmd(a), configShowCmd(a), configInitCmd(a))
}

// fileFlag adds --file, which says --config in a word of its own.
func fileFlag(cmd *cobra.Command, usage string) *string {
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
	return cmd.Flags().String("file", "", usage)
}

func configCheckCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with a config file, all of it",
		Long: `Say what is wrong with a config file, all of it, and what in it is good and does
nothing. The exit code is 1 for the first alone.`,
		Example: "  crawlbox config check\n  crawlbox config check --file new.yaml",
		Args:    command.NoArgs,
	}
	file := fileFlag(cmd, "the `file` (default as --config)")
	cmd.RunE = func(*cobra.Command, []string) error {
		var odd []error
		checking := configs.Checking(func(err error) { odd = append(odd, err) })
		cfg, err := configs.Load(configFile(a, *file), checking)
		for _, of := range odd {
			err = errors.Join(err, a.Tell("crawlbox: %s", of))
		}
		if err != nil {
			return err
		}
		if _, err := os.Stat(cfg.File); errors.Is(err, fs.ErrNotExist) {
			return a.Say("%s does not exist; the defaults are in force, `crawlbox config init` writes them down",
				cfg.File)
		}
		what := words.Count(len(cfg.Services), "service")
		if n := len(cfg.Schedules); n > 0 {
			what += ", " + words.Count(n, "schedule")
		}
		return a.Printf("%s: good, %s\n", cfg.File, what)
	}
	return cmd
}

func configShowCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the config in force here, or what a file means",
		Long: `Show the config of the crawlbox that runs here with all defaults, or with --file
what a file would mean. Passwords are hidden.`,
		Example: "  crawlbox config show\n  crawlbox config show --file new.yaml",
		Args:    command.NoArgs,
	}
	file := fileFlag(cmd, "the `file` to show (default: what runs here)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := showConfig(a, cmd, *file)
		if err != nil {
			return err
		}
		return a.Printf("%s", text)
	}
	return cmd
}

func showConfig(a *command.App, cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		cfg, err := configs.Load(file)
		if err != nil {
			return "", err
		}
		text, err := configs.Show(cfg)
		return string(text), err
	}
	c, err := a.Client()
	if err != nil {
		return "", err
	}
	return c.Config(cmd.Context())
}

func configInitCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Write a config file that explains every setting",
		Example: "  crawlbox config init\n  crawlbox config init --file new.yaml",
		Args:    command.NoArgs,
	}
	file := fileFlag(cmd, "the `file` to write, - for stdout (default as --config)")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *file == "-" {
			return a.Printf("%s", configs.Annotated)
		}
		path := configFile(a, *file)
		if path == "" {
			path = configs.DefaultPath
		}
		if err := writeNew(path, configs.Annotated); err != nil {
			return err
		}
		return a.Printf("%s written\n", path)
	}
	return cmd
}

func configFile(a *command.App, file string) string {
	if file != "" {
		return file
	}
	return a.Config
}

// writeNew writes a file that is not there yet, for its owner only: it holds
// a password may be put.
func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of the config: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; move it away, or write elsewhere with --file", path)
	}
	if err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
