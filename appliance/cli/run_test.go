package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

func TestLogs_Follow(t *testing.T) {
	t.Parallel()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, command.Env{Stdout: w, Stderr: io.Discard},
			[]string{"logs", "-f", "spider", "--socket", socket})
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	for n := 1; n <= 3; n++ {
		if !lines.Scan() {
			t.Fatalf("the logs end after %d lines", n-1)
		}
	}
	cancel()
	if lines.Scan() {
		t.Errorf("one line too many: %s", lines.Text())
	}
	if got := <-code; got != exitDone {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
}

func TestRun_ExitCodes(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := Run(context.Background(), nil, nil, &out, &errs); code != exitDone ||
		!strings.Contains(out.String(), "Usage:") {
		t.Errorf("no arguments: %d %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := Run(context.Background(), []string{"scale"}, nil, &out, &errs); code != exitUsage || out.Len() > 0 {
		t.Errorf("wrong usage: %d %s", code, out.String())
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	errs.Reset()
	code := Run(cancelled, []string{"--socket", "/none", "ls"}, nil, &out, &errs)
	if code != exitFailed || errs.String() != "crawlbox: interrupted\n" {
		t.Errorf("Ctrl-C: %d %s", code, errs.String())
	}
}
