package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// version is set by the linker: -X …/appliance/cli.version=0.1.0.
var version string

// Version returns the version of this binary, "dev" where the build has none.
func Version() string {
	if version != "" {
		return version
	}
	return "dev"
}

type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	State   int    `json:"state"` // see upgrade.StateFormat
}

func thisBuild() build {
	b := build{
		Version: Version(),
		Go:      runtime.Version(),
		OS:      runtime.GOOS,
		Arch:    runtime.GOARCH,
		State:   upgrade.StateFormat,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}

func versionCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this binary",
		Example: "  crawlbox version --json",
		Args:    command.NoArgs,
	}
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		if *asJSON {
			return a.PrintJSON(b)
		}
		line := "crawlbox " + b.Version + ", " + b.Go + ", " + b.OS + "/" + b.Arch
		if b.Commit != "" {
			line += ", commit " + b.Commit[:min(12, len(b.Commit))]
		}
		return a.Printf("%s\n", line)
	}
	return cmd
}
