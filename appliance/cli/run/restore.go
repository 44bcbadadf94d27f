package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// RecoveryEnv has the recovery key of a restore, which is on no command line.
	RecoveryEnv = "CRAWLBOX_RECOVERY_KEY"
	// maxKeyFile bounds what is read as a recovery key, in bytes.
	maxKeyFile = 4096
)

func restoreFlags(cmd *cobra.Command) {
	cmd.Flags().String("restore", "", "restore from a backup: `file` or node's address")
	cmd.Flags().String("recovery-key-file", "", "`file` with the recovery key, - for stdin")
	_ = cmd.MarkFlagFilename("restore")
	_ = cmd.MarkFlagFilename("recovery-key-file")
}

// Restore makes this bare machine the manager of a cluster that was backed up, as far as the disk goes,
// where the user wants that. It reports whether it did; the config may be another one then.
func Restore(a *command.App, cmd *cobra.Command, cfg configs.Config) (bool, error) {
	from, err := cmd.Flags().GetString("restore")
	switch {
	case err != nil || from == "" && !cmd.Flags().Changed("restore"): // of a worker there is no such flag
		return false, nil
	case from == "":
		return false, command.Usagef(cmd, "--restore is empty; name a backup's file, or a node's address")
	}
	if join, _ := cmd.Flags().GetString("join"); join != "" {
		return false, command.Usagef(cmd, "a manager joins a cluster or restores one; keep one of --join and --restore")
	}
	if err := restore.Bare(cfg); err != nil {
		return false, err
	}
	sealed, err := openSealed(cmd.Context(), from, cfg.Node.Port)
	if err != nil {
		return false, err
	}
	defer sealed.Close()
	key, err := recoveryKey(a, cmd)
	if err != nil {
		return false, err
	}
	node, err := os.Hostname()
	if err != nil {
		return false, err
	}
	images := restore.NewImages(cfg)
	if err := images.Drop(); err != nil { // of a restore that was killed
		return false, err
	}
	content, err := backup.Read(sealed, key, images.Take)
	if err != nil {
		return false, fmt.Errorf("restore from %s: %w; nothing was changed", from, errors.Join(err, images.Drop()))
	}
	if err := images.Keep(); err != nil {
		return false, err
	}
	if err := restore.Prepare(cfg, node, content); err != nil {
		return false, err
	}
	err = a.Say("restoring %s, as %s has backed it up at %s", content, content.Node,
		content.Time.Local().Format(time.DateTime))
	if content.Files[backup.QueuePassword] != nil && cfg.Queue == nil && content.Files[backup.ConfigFile] == nil {
		err = errors.Join(err, a.Say("the backup has the password of a queue, which is off here; turn it on with "+
			"--queue or --queue-tls, as the manager before had it"))
	}
	return true, err
}

// openSealed opens a file, or what the node at an address keeps.
func openSealed(ctx context.Context, from string, port uint16) (io.ReadCloser, error) {
	node, err := netip.ParseAddrPort(from)
	if addr, noPort := netip.ParseAddr(from); noPort == nil {
		node, err = netip.AddrPortFrom(addr, port), nil
	}
	if err != nil {
		f, err := os.Open(from)
		if err != nil {
			return nil, fmt.Errorf("open the backup: %w", err)
		}
		return f, nil
	}
	data, err := copies.Fetch(ctx, node)
	return io.NopCloser(bytes.NewReader(data)), err
}

// recoveryKey takes the key from its file, the environment or a person.
func recoveryKey(a *command.App, cmd *cobra.Command) (backup.Key, error) {
	path, _ := cmd.Flags().GetString("recovery-key-file")
	text := os.Getenv(RecoveryEnv)
	switch {
	case path != "":
		data, err := readKeyFile(a, path)
		if err != nil {
			return backup.Key{}, fmt.Errorf("read the recovery key: %w", err)
		}
		text = string(data)
	case text != "":
	case tui.IsTerminal(a.Env.Stdin):
		fmt.Fprint(a.Env.Stderr, "Recovery key: ")
		typed, err := command.Ask(cmd.Context(), a.Env)
		if err != nil {
			return backup.Key{}, err
		}
		text = typed
	default:
		return backup.Key{}, command.Usagef(cmd, "needs the recovery key: name a file with it, - for standard input, "+
			"with --recovery-key-file, or put it into %s", RecoveryEnv)
	}
	return backup.ParseKey(text)
}

func readKeyFile(a *command.App, path string) ([]byte, error) {
	if path == "-" {
		return bound.ReadAll(a.Env.Stdin, maxKeyFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bound.ReadAll(f, maxKeyFile)
}
