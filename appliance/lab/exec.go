package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// Result is the outcome of a command on a host.
type Result struct {
	Stdout string
	Stderr string
	Code   int // exit code; -1 if it did not start or was killed, Stderr then says why
}

// Err returns nil for exit code 0, and otherwise an error with what the command
// wrote to stderr, or to stdout if it wrote nothing there.
func (r Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	said := strings.TrimSpace(r.Stderr)
	if said == "" {
		said = strings.TrimSpace(r.Stdout)
	}
	return fmt.Errorf("exit code %d: %s", r.Code, said)
}

// Exec runs a command on the host, in directory /, and waits for it. When ctx ends
// the command is killed, with all it started in its session.
func (h *Host) Exec(ctx context.Context, args ...string) Result {
	result := h.run(h.command(ctx, args))
	if h.lab.heard != nil {
		h.lab.heard(args, result)
	}
	return result
}

func (h *Host) run(cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := h.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if result.Code == -1 && err != nil {
		result.Stderr += fmt.Sprintf("%s: %v\n", cmd.Args[1], err)
	}
	return result
}

// MustExec runs a command on the host and returns its stdout without the space
// around it. Any exit code but 0 fails the test.
func (h *Host) MustExec(args ...string) string {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	result := h.Exec(ctx, args...)
	if err := result.Err(); err != nil {
		h.lab.t.Fatalf("host %s: %s: %v", h.name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(result.Stdout)
}

// Docker is MustExec of the docker command.
func (h *Host) Docker(args ...string) string {
	h.lab.t.Helper()
	return h.MustExec(append([]string{"docker"}, args...)...)
}

// command prepares args for start. It leaves the search for the program to env,
// which does it on the host.
func (h *Host) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/env", args...)
	cmd.Dir = "/"
	cmd.Env = h.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what a command left behind with its output open
	return cmd
}

// start starts a command in the host's namespaces. Its process is a child of
// this one, so signals and exit codes need no go-between.
func (h *Host) start(cmd *exec.Cmd) error {
	return frame.Inside(h.PID(), frame.Everything, cmd.Start)
}

// Shell returns the command, for a person, that opens a shell on the host with the lab's
// programs, such as crawlbox, on its PATH.
func (h *Host) Shell() string {
	return fmt.Sprintf("nsenter --target %d --mount --uts --ipc --net --pid env %s bash", h.PID(),
		strings.Join(h.environ(), " "))
}

// environ returns the environment of a fresh login: nothing of the test's own may reach a host.
func (h *Host) environ() []string {
	if h.spec.systemd {
		return []string{
			"HOME=/root", "LANG=C.UTF-8", "PATH=" + machineBin +
				":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		}
	}
	return []string{"HOME=/var/lib/home", "LANG=C.UTF-8", "PATH=" + h.lab.dir + "/bin:" + os.Getenv(
		"PATH") + ":" + h.dir + "/usr/bin"}
}
