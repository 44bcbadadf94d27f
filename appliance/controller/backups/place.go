package backups

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// commandTimeout bounds how long backup.command may take.
	commandTimeout = 5 * time.Minute
	// maxSaid bounds what is kept of what it writes, in bytes.
	maxSaid = 4 << 10
)

// place is where the operator wants backups too. It is used by one goroutine at a time.
type place struct {
	key  string // of the config
	is   string // its value
	last string // the content that it has got
	take func(ctx context.Context, h backup.Header, sealed []byte) error
}

func placesOf(want configs.Backup) (list []*place) {
	if want.Dir != "" {
		shelf := &backup.Shelf{Dir: want.Dir}
		list = append(list, &place{key: "backup.dir", is: want.Dir,
			take: func(_ context.Context, h backup.Header, sealed []byte) error { return shelf.Put(h.Cluster, sealed) },
		})
	}
	if want.Command != "" {
		list = append(list, &place{key: "backup.command", is: want.Command,
			take: func(ctx context.Context, h backup.Header, sealed []byte) error {
				return feed(ctx, want.Command, h, sealed)
			},
		})
	}
	return list
}

// put brings a backup there, unless that has been done. The error is a sentence.
func (p *place) put(ctx context.Context, h backup.Header, sealed func() ([]byte, error)) error {
	if p.last == h.Content {
		return nil
	}
	data, err := sealed()
	if err == nil {
		err = p.take(ctx, h, data)
	}
	if err != nil {
		return fmt.Errorf("%s (%s) did not take the cluster's backup: %s; mend it, and run `crawlbox backup`", p.key,
			p.is, words.OneLine(err.Error()))
	}
	p.last = h.Content
	return nil
}

// feed runs a command of the shell with a sealed backup as its standard input.
func feed(ctx context.Context, command string, h backup.Header, sealed []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("it took longer than %s", commandTimeout))
	defer cancel()
	said := tail{}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(sealed), &said, &said
	cmd.Env = append(os.Environ(), "CRAWLBOX_BACKUP="+backup.FileName(h))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if text := strings.TrimSpace(string(said)); text != "" {
		err = fmt.Errorf("%w (%s)", err, words.OneLine(text))
	}
	return err
}

// tail is the end of what was written.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-maxSaid):]...)
	*t = (*t)[max(0, len(*t)-maxSaid):]
	return len(p), nil
}
