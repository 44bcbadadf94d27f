package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Proc is a process that Start started on a host. All methods may be called
// from any goroutine.
type Proc struct {
	host *Host
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start starts a command on the host and leaves it running. Its output goes to
// a file that is shown when the test fails; name says whose it is. It ends with
// the host.
func (h *Host) Start(name string, args ...string) *Proc {
	h.lab.t.Helper()
	p, err := h.startProc(name, args)
	if err != nil {
		h.lab.t.Fatalf("lab: host %s: start %s: %v", h.name, name, err)
	}
	return p
}

func (h *Host) startProc(name string, args []string) (*Proc, error) {
	p := &Proc{
		host: h,
		name: name,
		cmd:  h.command(context.Background(), args),
		log:  filepath.Join(h.dir, name+".log"),
		done: make(chan struct{}),
	}
	// Appended to: a second start of the same name goes on in the same file.
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := h.start(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.procs = append(h.procs, p)
	return p, nil
}

// PID returns the process's number on the machine; on the host it has another.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // fails only for one that has ended
	<-p.done
}

// Stop sends SIGTERM, waits, and returns the exit code.
func (p *Proc) Stop(ctx context.Context) (int, error) {
	_ = p.Signal(syscall.SIGTERM) // fails only for one that has ended
	return p.Wait(ctx)
}

// Done returns a channel that is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Wait waits for the process and returns its exit code, -1 if a signal ended it.
// The error is that of ctx.
func (p *Proc) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for %s on host %s: %w", p.name, p.host.name, ctx.Err())
	}
}

// Logs returns what the process, and earlier ones of its name on the host, have
// written so far.
func (p *Proc) Logs() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(text), "?")
}
