package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// Bounds of one push to the API. JSON may write a byte in six, and the largest
// request is api.MaxBody.
const (
	batchItems = 10_000
	batchBytes = 1 << 20
)

func queuePushCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push KEY ITEM...|-",
		Short: "Append items to a list, or with - the lines of stdin",
		Long: `Append items to a list. With - they come from standard input, one a line.

Empty lines are left out, and an empty ITEM is refused: a spider that takes one
would believe that the queue is empty. --allow-empty pushes them too.`,
		Example:           "  crawlbox queue push example:swarm:spider - < urls.txt",
		Args:              command.AtLeast(2, "a key and items, or - for standard input"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	asJSON := command.JSONFlag(cmd)
	empty := cmd.Flags().Bool("allow-empty", false, "push empty items too")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) (err error) {
		p := &pusher{ctx: cmd.Context(), client: c, key: args[0], empty: *empty}
		switch items := args[1:]; {
		case len(items) == 1 && items[0] == "-":
			err = p.lines(a.Env.Stdin)
		case slices.Contains(items, "") && !*empty:
			return command.Usagef(cmd, "an item is empty, which a spider takes for the end of the queue; "+
				"--allow-empty pushes it")
		default:
			err = p.all(items)
		}
		if err != nil {
			return p.explain(err)
		}
		if *asJSON {
			return a.PrintJSON(api.Items{Key: p.key, Len: p.length})
		}
		text := fmt.Sprintf("%s: %s pushed", p.key, words.Count(p.pushed, "item"))
		if p.left > 0 {
			text += fmt.Sprintf(", %s left out", words.Count(p.left, "empty line"))
		}
		return a.Printf("%s, %d in the list\n", text, p.length)
	})
	return cmd
}

// pusher appends items in batches.
type pusher struct {
	ctx    context.Context
	client *api.Client
	key    string
	batch  []string
	bytes  int
	empty  bool // empty items are pushed too
	pushed int
	left   int   // empty lines that were left out
	length int64 // of the list, in the end
}

func (p *pusher) all(items []string) error {
	for _, item := range items {
		if err := p.add(item); err != nil {
			return err
		}
	}
	return p.end()
}

func (p *pusher) lines(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, batchBytes)
	n := 1
	for ; in.Scan(); n++ {
		line := strings.TrimSuffix(in.Text(), "\r")
		if n == 1 {
			line = words.WithoutMark(line)
		}
		if line == "" && !p.empty {
			p.left++
			continue
		}
		switch err := p.add(line); {
		case errors.Is(err, errNotText):
			return fmt.Errorf("line %d: %w", n, err)
		case err != nil: // of lines before it
			return err
		}
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes; push it with redis-cli", n, batchBytes)
	} else if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return p.end()
}

// end pushes what is left, and finds out how long the list is where nothing was pushed.
func (p *pusher) end() error {
	if err := p.flush(); err != nil || p.pushed > 0 {
		return err
	}
	list, err := p.client.QueueLen(p.ctx, p.key)
	for _, is := range list {
		p.length += is.Len
	}
	return err
}

var errNotText = errors.New("the item is not UTF-8 text; push it with redis-cli")

func (p *pusher) add(item string) error {
	if !utf8.ValidString(item) {
		return errNotText
	}
	if len(p.batch) == batchItems || p.bytes+len(item) > batchBytes {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.batch = append(p.batch, item)
	p.bytes += len(item)
	return nil
}

func (p *pusher) flush() error {
	if len(p.batch) == 0 {
		return nil
	}
	list, err := p.client.QueuePush(p.ctx, p.key, p.batch)
	if err != nil {
		return err
	}
	p.pushed += len(p.batch)
	p.length = list.Len
	p.batch, p.bytes = nil, 0
	return nil
}

// explain says how much is done where a push ends early.
func (p *pusher) explain(err error) error {
	if p.pushed == 0 {
		return err
	}
	return fmt.Errorf("%w (%s pushed before)", err, words.Count(p.pushed, "item"))
}
