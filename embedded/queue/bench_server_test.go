package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const benchDir = "CRAWLBOX_QUEUE_BENCH_DIR"

// runBenchQueue turns the test binary into a queue with its defaults, so that it
// shares neither memory nor garbage collection with the load.
func runBenchQueue() {
	dir := os.Getenv(benchDir)
	if dir == "" {
		return
	}
	opts := Options{Addr: "127.0.0.1:0", Password: testPassword, Dir: dir}
	Tune(opts.MaxMemory)
	srv, err := New(opts, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err == nil {
		go func() {
			<-srv.Ready()
			fmt.Println(srv.Addr())
		}()
		err = srv.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func startBenchQueue(b *testing.B) redisServer {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchDir+"="+b.TempDir())
	cmd.Stderr = b.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("the queue did not start: %v", err)
	}
	return redisServer{addr: strings.TrimSpace(addr), password: testPassword, pid: cmd.Process.Pid}
}

// rss returns the bytes of a process in memory.
func rss(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(data), "VmRSS:")
	fields := strings.Fields(after)
	if !ok || len(fields) == 0 {
		return 0, errors.New("no VmRSS")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}
