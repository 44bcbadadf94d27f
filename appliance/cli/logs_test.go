package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

func TestLogs_Follow(t *testing.T) {
	t.Parallel()
	socket, stop, err := serve(apitest.New(now))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, Env{Stdout: w, Stderr: io.Discard}, []string{"logs", "-f", "spider", "--socket", socket})
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

func TestLogPrinter(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	p := &logPrinter{out: screen{w: &out, colors: 256}, err: screen{w: &errs}}
	for _, l := range []api.LogLine{
		{Task: "spider.1", Node: "h1", Stream: "stdout", Text: "got: a"},
		{Task: "spider.10", Node: "h12", Stream: "stdout", Text: "got: b"},
		{Task: "spider.1", Node: "h1", Stream: "stderr", Text: "oops"},
		{Task: "spider.1", Node: "h1", Stream: "stdout", Text: "got: c"},
		{Text: "node h3 does not\nanswer"},
	} {
		if err := p.print(l); err != nil {
			t.Fatal(err)
		}
	}
	style1, style10 := p.out.colorOf("spider.1"), p.out.colorOf("spider.10")
	want := "\x1b[" + style1 + "mspider.1@h1 |\x1b[0m got: a\n" +
		"\x1b[" + style10 + "mspider.10@h12 |\x1b[0m got: b\n" +
		"\x1b[" + style1 + "mspider.1@h1   |\x1b[0m got: c\n"
	if got := out.String(); got != want || style1 == style10 {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := errs.String(), "spider.1@h1   | oops\ncrawlbox: node h3 does not answer\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
}

func TestColorOf(t *testing.T) {
	t.Parallel()
	for colors, distinct := range map[int]int{16: 6, 256: len(palette)} {
		seen := map[string]bool{}
		for slot := range distinct {
			seen[screen{colors: colors}.colorOf(fmt.Sprintf("spider.%d", slot+1))] = true
		}
		if len(seen) != distinct {
			t.Errorf("%d colours: %d slots in a row have only %d", colors, distinct, len(seen))
		}
	}
	s := screen{colors: 256}
	if s.colorOf("robot.h1") == s.colorOf("robot.h2") {
		t.Error("two tasks of a global service have one colour")
	}
}
