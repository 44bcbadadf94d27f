package service

import (
	"bytes"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func TestLogPrinter(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	p := &logPrinter{out: tui.Screen{W: &out, Colors: 256}, err: tui.Screen{W: &errs}}
	for _, l := range []api.LogLine{
		{Task: "spider.1", Node: "h1", Stream: "stdout", Text: "got: a"},
		{Task: "spider.10", Node: "h12", Stream: "stdout", Text: "got: b"},
		{Task: "spider.1", Node: "h1", Stream: "stderr", Text: "oops"},
		{Task: "spider.1", Node: "h1", Stream: "stdout", Text: "got: c"},
		{Task: "spider.1", Node: "h1", Version: "0.02", Mixed: true, Stream: "stdout", Text: "got: d", Cut: true},
		{Text: "node h3 does not\nanswer"},
	} {
		if err := p.print(l); err != nil {
			t.Fatal(err)
		}
	}
	style1, style10 := p.out.ColorOf("spider.1"), p.out.ColorOf("spider.10")
	want := "\x1b[" + style1 + "mspider.1@h1 |\x1b[0m got: a\n" +
		"\x1b[" + style10 + "mspider.10@h12 |\x1b[0m got: b\n" +
		"\x1b[" + style1 + "mspider.1@h1   |\x1b[0m got: c\n" +
		"\x1b[" + style1 + "mspider.1@h1 0.02 |\x1b[0m got: d\x1b[2m … (goes on)\x1b[0m\n"
	if got := out.String(); got != want || style1 == style10 {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := errs.String(), "spider.1@h1   | oops\ncrawlbox: node h3 does not answer\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
}
