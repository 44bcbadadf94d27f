package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs"
)

// nobody is who commands run as unless the config says otherwise: they get words that spiders wrote.
const nobody = "nobody"

// command runs a line of the shell with a message as its standard input. Nothing of it is in the line or in variables,
// where the shell might run it.
func (s *Sender) command(ctx context.Context, c configs.Channel, m alerts.Message) error {
	data, err := s.body(m)
	if err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	name := c.User
	if name == "" {
		name = nobody
	}
	if attr.Credential, err = credential(name); err != nil {
		return err
	}
	said := tail{}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", c.Run)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &said, &said
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "CRAWLBOX_ALERT_ID=" + m.ID,
	}
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left behind
	}
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it ended well, with something left that has its output open
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if text := words.OneLine(strings.ToValidUTF8(string(said), "")); text != "" {
		err = fmt.Errorf("%w (%s)", err, text)
	}
	return err
}

// credential returns whom a process runs as; nil: who runs this one.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("the command runs as %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil || syscall.Getuid() == int(uid) {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// tail is the end of what was written.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-maxSaid):]...)
	*t = (*t)[max(0, len(*t)-maxSaid):]
	return len(p), nil
}
