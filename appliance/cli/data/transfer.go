package data

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/keycopy"
)

const (
	// RedisEnv may have the URL of the server that keys are copied from or to.
	RedisEnv = "CRAWLBOX_REDIS_URL"
	// maxURLFile bounds what is read as a URL, and maxCAFile as a certificate, in bytes.
	maxURLFile = 4096
	maxCAFile  = 1 << 20
	// someKeys is how many keys a message names.
	someKeys = 10
)

const transferLong = `
URL is redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS; only the
host has to be there. So that its password is on no command line, write it to a
file for --url-file, or into CRAWLBOX_REDIS_URL. Keys of a database go into that
of the same number.

Strings, lists, sets, sorted sets and hashes are copied with their deadlines,
other types where both servers have them. Where a key is there already, nothing
is copied without --replace. A key is there when all of it is. After an error or
Ctrl-C, copy again with --replace.

Nothing is taken out of the source. Stop what uses the keys before: what is
added or taken meanwhile may be copied or not, and a list of more than 16MB that
changes is left out and named.`

func queueImportCmd(a *command.App) *cobra.Command {
	return transferCmd(a, transfer{past: "imported", way: "from", doing: "importing"}, &cobra.Command{
		Use:   "import [URL]",
		Short: "Copy keys of another Redis or Valkey into the queue",
		Long:  "Copy keys of another Redis or Valkey into the queue.\n" + transferLong,
		Example: "  crawlbox queue import redis://old.example:6379 --keys 'example:*'\n" +
			"  crawlbox queue import --url-file old.url --replace",
	})
}

func queueExportCmd(a *command.App) *cobra.Command {
	return transferCmd(a, transfer{past: "exported", way: "to", doing: "exporting"}, &cobra.Command{
		Use:   "export [URL]",
		Short: "Copy keys of the queue to another Redis or Valkey",
		Long:  "Copy keys of the queue to another Redis or Valkey.\n" + transferLong,
		Example: "  crawlbox queue export redis://new.example:6379 --keys 'example:*'\n" +
			"  crawlbox queue export --url-file new.url --ca ca.pem",
	})
}

// transfer is one of the two ways.
type transfer struct{ past, way, doing string }

func transferCmd(a *command.App, t transfer, cmd *cobra.Command) *cobra.Command {
	cmd.Args = command.AtMostOne("one URL")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	keys := cmd.Flags().String("keys", "", "only keys that match a `pattern` of Redis")
	replace := cmd.Flags().Bool("replace", false, "overwrite keys that are there already")
	urlFile := cmd.Flags().String("url-file", "", "`file` with the URL, - for stdin")
	caFile := cmd.Flags().String("ca", "", "`file` with the certificate of the other server's CA")
	asJSON := command.JSONFlag(cmd)
	_ = errors.Join(cmd.MarkFlagFilename("url-file"), cmd.MarkFlagFilename("ca"))
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		other, err := otherServer(a, cmd, args, *urlFile, *caFile)
		if err != nil {
			return err
		}
		defer other.Close()
		own, err := ownQueue(cmd.Context(), c, other.Database)
		if err != nil {
			return err
		}
		defer own.Close()
		run := &keycopy.Copy{From: other, To: own, Match: *keys, Replace: *replace}
		if t.way == "to" {
			run.From, run.To = own, other
		}
		began := a.Env.Now()
		end := tui.Live(a.Stderr(), func() (float64, string) {
			return t.underWay(run.Progress(), a.Env.Now().Sub(began))
		})
		err = run.Run(cmd.Context())
		end()
		if err != nil {
			return explainCopy(run, err)
		}
		if *asJSON {
			err = a.PrintJSON(struct {
				keycopy.Progress
				keycopy.Left
			}{run.Progress(), run.Left()})
		} else {
			err = a.Say("%s", t.summary(run.Progress(), run.Left(), other.Name, a.Env.Now().Sub(began)))
		}
		return errors.Join(err, leftOut(run))
	})
	return cmd
}

// otherServer opens the server whose URL is given in one of three places.
func otherServer(a *command.App, cmd *cobra.Command, args []string, urlFile, caFile string) (*keycopy.Server, error) {
	env := os.Getenv(RedisEnv)
	var given []string
	for _, place := range []struct{ name, value string }{
		{"an argument", strings.Join(args, "")}, {"--url-file", urlFile}, {RedisEnv, env},
	} {
		if place.value != "" {
			given = append(given, place.name)
		}
	}
	switch {
	case len(given) == 0:
		return nil, command.Usagef(cmd, "needs the URL of a Redis server, as an argument, in a file for --url-file or "+
			"in %s", RedisEnv)
	case len(given) > 1:
		return nil, command.Usagef(cmd, "the URL is given by %s; keep one of them", strings.Join(given, " and by "))
	}
	text := strings.Join(args, "") + env
	if urlFile != "" {
		data, err := readSmall(a, urlFile, maxURLFile)
		if err != nil {
			return nil, fmt.Errorf("read the URL: %w", err)
		}
		text = words.WithoutMark(string(data))
	}
	var roots *x509.CertPool
	if caFile != "" {
		pem, err := readSmall(a, caFile, maxCAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of the CA: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s; it has to be PEM", caFile)
		}
	}
	return keycopy.Open(strings.TrimSpace(text), roots)
}

// readSmall reads a file, or standard input for -.
func readSmall(a *command.App, path string, most int64) ([]byte, error) {
	in := a.Env.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := bound.ReadAll(in, most)
	if errors.Is(err, bound.ErrTooLong) {
		return nil, fmt.Errorf("%s has more than %d bytes; it should have nothing else", path, most)
	}
	return data, err
}

// ownQueue opens a database of the cluster's queue.
func ownQueue(ctx context.Context, c *api.Client, database int) (*keycopy.Server, error) {
	address, err := c.QueueAddress(ctx)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if strings.HasPrefix(address.URL, "rediss:") {
		ca, err := c.CA(ctx)
		if err != nil {
			return nil, err
		}
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(ca))
	}
	own, err := keycopy.Open(fmt.Sprintf("%s/%d", address.URL, database), roots)
	if err != nil {
		return nil, fmt.Errorf("the crawlbox here gives an address of the queue that this program does not know: %s",
			address.Addr)
	}
	return own, nil
}

// underWay returns how much is done, and "importing 3 of 12 keys, 1000 of 5000 items, 45MB, 2000
// items/s, 2.0s left".
func (t transfer) underWay(p keycopy.Progress, took time.Duration) (float64, string) {
	if p.AllItems == 0 {
		return 0, fmt.Sprintf("%s: %s found", t.doing, words.Count(int(p.AllKeys), "key"))
	}
	text := fmt.Sprintf("%s %d of %s, %d of %s, %s", t.doing, p.Keys, words.Count(int(p.AllKeys), "key"), p.Items,
		words.Count(int(p.AllItems), "item"), tui.Size(p.Bytes))
	if rate := float64(p.Items) / took.Seconds(); took >= time.Second && rate >= 1 {
		left := time.Duration(float64(max(0, p.AllItems-p.Items)) / rate * float64(time.Second))
		text += fmt.Sprintf(", %.0f items/s, %s left", rate, tui.Took(left))
	}
	return float64(p.Items) / float64(p.AllItems), text
}

// summary returns "imported 12 keys from old.example:6379: 5000 items, 45MB, in 2.0s; 2 keys of the
// queue itself left out".
func (t transfer) summary(p keycopy.Progress, left keycopy.Left, other string, took time.Duration) string {
	text := fmt.Sprintf("%s %s %s %s: %s, %s, in %s", t.past, words.Count(int(p.Keys), "key"), t.way, other,
		words.Count(int(p.Items), "item"), tui.Size(p.Bytes), tui.Took(took))
	if left.Own > 0 {
		text += fmt.Sprintf("; %s of the queue itself left out", words.Count(left.Own, "key"))
	}
	return text
}

// explainCopy says how much is done where a copy ends early.
func explainCopy(run *keycopy.Copy, err error) error {
	if exists := (*keycopy.ExistsError)(nil); errors.As(err, &exists) {
		return fmt.Errorf("%s has %s that would be overwritten, so nothing was copied: %s; --replace overwrites",
			run.To.Name, words.Count(len(exists.Keys), "key"), words.Some(exists.Keys, someKeys))
	}
	p := run.Progress()
	if errors.Is(err, context.Canceled) {
		err = command.ErrInterrupted
	}
	if p.AllItems == 0 {
		return err
	}
	return fmt.Errorf("%w (%d of %s are copied, the others as they were; copy again with --replace)", err, p.Keys,
		words.Count(int(p.AllKeys), "key"))
}

// leftOut is the error of a copy that is complete but for some keys.
func leftOut(run *keycopy.Copy) error {
	left := run.Left()
	var all []error
	for _, some := range []struct {
		keys []string
		why  string
	}{
		{left.Unserved, "which " + run.To.Name + " has no type for, or none of that version"},
		{left.Changed, "which changed while they were read; stop what uses them, and copy them with --keys"},
		{left.Appeared, "which came to " + run.To.Name + " meanwhile; --replace overwrites them"},
	} {
		if n := len(some.keys); n > 0 {
			all = append(all, fmt.Errorf("%s left out, %s: %s", words.Count(n, "key"), some.why,
				words.Some(some.keys, someKeys)))
		}
	}
	return errors.Join(all...)
}
