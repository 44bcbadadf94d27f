package cluster

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/registry/archive"
)

// BackupCmd returns crawlbox backup.
func BackupCmd(a *command.App) *cobra.Command {
	cmd := command.Group(&cobra.Command{
		Use:   "backup [FILE]",
		Short: "Back the cluster up, which it also does by itself",
		Long: `Back the cluster up: its state (CA, join tokens, members, history), services,
networks, configs, and the manager's config file and queue password, sealed with
the recovery key that 'crawlbox recovery-key' prints. What is in the queue and
the content of Docker's secrets are not in it, and images only with --images.

Without FILE it is brought onto three other nodes and to backup.dir and
backup.command of the config, as the manager does by itself every ten minutes if
something has changed. With FILE, - for standard output, it is written there,
as root on the manager; that needs no running crawlbox. With --images the images
that services use or may go back to are in FILE too.`,
		Example: "  crawlbox backup\n  crawlbox backup cluster.crawlbox-backup --images\n" +
			"  ssh root@manager crawlbox backup - > cluster.crawlbox-backup",
	}, backupLsCmd(a))
	cmd.Args = command.AtMostOne("one file")
	force := cmd.Flags().Bool("force", false, "replace a FILE that is there")
	images := cmd.Flags().Bool("images", false, "with the images that services use or may go back to")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && *images {
			return command.Usagef(cmd, "--images needs a FILE, as the nodes that keep backups have no room for images")
		}
		if len(args) == 0 {
			return a.Asking(func(cmd *cobra.Command, c *api.Client, _ []string) error {
				if err := c.BackUp(cmd.Context()); err != nil {
					return err
				}
				return a.Printf("the backups are up to date; `crawlbox backup ls` lists them\n")
			})(cmd, args)
		}
		return writeBackup(a, cmd.Context(), args[0], *force, *images)
	}
	return cmd
}

// writeBackup writes a sealed backup of the cluster to a file.
func writeBackup(a *command.App, ctx context.Context, path string, force, images bool) error {
	if err := mayWrite(a, path, force); err != nil {
		return err
	}
	cfg, err := configs.Load(a.Config)
	if err != nil {
		return err
	}
	engine, err := swarm.Open(cfg.Docker.Host)
	if err != nil {
		return err
	}
	defer engine.Close()
	node, err := os.Hostname()
	if err != nil {
		return err
	}
	content, key, err := backup.NewSource(engine, cfg, node, a.Version).Read(ctx)
	if err != nil {
		return err
	}
	seal, err := key.Seal()
	if err != nil {
		return err
	}
	packed := packing{root: cfg.RegistryDir()}
	if images {
		if packed.images, err = content.Images(cfg.Registry.Port); err != nil {
			return err
		}
	}
	write := func(w io.Writer) error { return content.Write(w, seal, packed.write) }
	if path == "-" {
		if err := buffered(a.Env.Stdout, write); err != nil {
			return err
		}
		return packed.say(a)
	}
	if err := intoFile(path, write); err != nil {
		return fmt.Errorf("write %s: %w", path, withoutPath(err))
	}
	with := ""
	if images {
		with = fmt.Sprintf(", with %s (%s)", words.Count(len(packed.images)-len(packed.lacks), "image"),
			tui.Size(packed.bytes))
	}
	err = a.Printf("wrote %s: %s%s; the key that `crawlbox recovery-key` prints opens it\n", path, content, with)
	return errors.Join(err, packed.say(a))
}

// packing puts images into a backup.
type packing struct {
	root   string // of the registry
	images []archive.Image
	lacks  []string // those that the registry lacks
	bytes  int64
}

func (p *packing) write(to *tar.Writer) error {
	w := archive.Writer{Root: p.root}
	for _, image := range p.images {
		ok, err := w.Write(to, image)
		if err != nil {
			return fmt.Errorf("image %s:%s: %w", image.Repository, image.Tag, err)
		}
		if !ok {
			p.lacks = append(p.lacks, image.Repository+":"+image.Tag)
		}
	}
	p.bytes = w.Bytes
	return nil
}

// say says which images are not in the backup.
func (p *packing) say(a *command.App) error {
	if len(p.lacks) == 0 {
		return nil
	}
	return a.Say("not in it, since the registry here lacks them: %s", words.Some(p.lacks, maxLacks))
}

// maxLacks is how many images are named.
const maxLacks = 5

// mayWrite refuses to put a backup in the place of what is there, before anything is read.
func mayWrite(a *command.App, path string, force bool) error {
	if path == "-" {
		if tui.IsTerminal(a.Env.Stdout) {
			return errors.New("a backup is no text for a terminal; name a FILE, or redirect the output")
		}
		return nil
	}
	if path == "" {
		return errors.New("the name of FILE is empty")
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write %s: %w", path, withoutPath(err))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there already and no regular file; choose another name", path)
	case !force:
		return fmt.Errorf("%s is there already; choose another name, or replace it with --force", path)
	}
	return nil
}

// intoFile puts what write writes in the place of a file that only its owner may read.
func intoFile(path string, write func(io.Writer) error) error {
	f, err := durable.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what was not kept
	if err := buffered(f, write); err != nil {
		return err
	}
	return f.Replace()
}

// buffered calls write with a buffer before w.
func buffered(w io.Writer, write func(io.Writer) error) error {
	out := bufio.NewWriter(w)
	if err := write(out); err != nil {
		return err
	}
	return out.Flush()
}

// withoutPath returns why something failed with a file that the user did not name.
func withoutPath(err error) error {
	if wrong := (*fs.PathError)(nil); errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}

func backupLsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the backups that other nodes keep",
		Long: `List the backups of the cluster that other nodes keep. CONTENT is the same where
nothing had changed, and EPOCH how often the cluster was restored before.`,
		Example: "  crawlbox backup ls",
		Args:    command.NoArgs,
	}
	return command.ReadsAll(a, cmd, (*api.Client).Backups, renderBackups)
}

func renderBackups(s tui.Screen, holders []api.BackupHolder) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "NODE"},
		{Head: "MADE"},
		{Head: "BY"},
		{Head: "SIZE"},
		{Head: "EPOCH"},
		{Head: "CONTENT"},
	}}
	for _, h := range holders {
		for _, c := range h.Copies {
			t.Add(tui.Text(h.Node), tui.Text(s.Since(c.Made)), tui.Text(c.By), tui.Text(tui.Size(c.Size)),
				tui.Text(fmt.Sprint(c.Epoch)), tui.Text(fmt.Sprintf("%.12s", c.Content)))
		}
		if len(h.Copies) == 0 {
			t.Add(tui.Text(h.Node), tui.Text("-"), tui.Text("-"), tui.Text("-"), tui.Text("-"), tui.Text("-"))
			t.Note(h.Error)
		}
	}
	t.Write(s)
}

// RecoveryKeyCmd returns crawlbox recovery-key.
func RecoveryKeyCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "recovery-key",
		Short: "Print the key that opens the cluster's backups",
		Long: `Print the key that opens the cluster's backups, as root on the manager. It is
for paper or a safe, and not for the servers of the cluster: whoever has it and
a backup has all of the cluster's secrets, and whoever has lost it cannot open a
backup. It needs no running crawlbox.`,
		Example: "  crawlbox recovery-key",
		Args:    command.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := configs.Load(a.Config)
			if err != nil {
				return err
			}
			view, err := state.Look(state.Dir(cfg.DataDir))
			if err != nil {
				return err
			}
			key, err := backup.LookKey(view)
			if err != nil {
				return err
			}
			return a.Printf("%s\n", key.Reveal())
		},
	}
}
