package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
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
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("one line too many: %q, %v", lines.Text(), lines.Err())
	}
	if got := <-code; got != exitDone {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
}

// TestDeploy_CutOff wants to hear what comes of a deploy when the manager ends amid it.
func TestDeploy_CutOff(t *testing.T) {
	t.Parallel()
	for events, want := range map[string]string{
		"": "whether the change has begun shows `crawlbox history spider`",
		`{"service":"spider","step":"pull"}` + "\n": "nothing was changed",
		`{"service":"spider","step":"pull"}` + "\n" + `{"service":"spider","step":"watch"}` + "\n": "the deploy goes on, " +
			"watch it with `crawlbox ps spider`, see its end with `crawlbox history spider`",
	} {
		socket, stop, err := clitest.ServeHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.WriteString(w, events); err == nil && events != "" {
				_ = http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler)
		}))
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := execute(t.Context(), command.Env{Stdout: io.Discard, Stderr: &errs},
			[]string{"deploy", "localhost:8003/spider:0.02", "--socket", socket})
		stop()
		if said := errs.String(); code != exitFailed || strings.Count(said, "\n") != 1 ||
			!strings.Contains(said, "the crawlbox here stopped meanwhile") || !strings.Contains(said, want) {
			t.Errorf("after %q: exit code %d and %s", events, code, said)
		}
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
