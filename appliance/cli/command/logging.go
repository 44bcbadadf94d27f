package command

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/systemd/journal"
)

// NewLogger logs to w from level on: text where w is a terminal, with levels and
// fields where it is systemd's journal, else JSON.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case journal.Is(w):
		return slog.New(journal.New(level))
	case tui.IsTerminal(w):
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

func (a *App) StartLog(cmd *cobra.Command, _ []string) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return Usagef(cmd, "--log-level is %q; it is debug, info, warn or error", a.logLevel)
	}
	a.Log = NewLogger(a.Env.Stderr, level)
	return nil
}
