package tui

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
)

// TestWatch wants a view in the place of the one before, whatever their sizes, and no more
// lines than fit.
func TestWatch(t *testing.T) {
	t.Parallel()
	view := func(lines int) func(Screen) {
		return func(s Screen) {
			for n := range lines {
				fmt.Fprintf(s.W, "line %d of %d\n", n+1, lines)
			}
		}
	}
	var out bytes.Buffer
	var w Watch
	for _, lines := range []int{2, 4, 9, 1, 3} {
		if err := w.Show(Screen{W: &out, Width: 40, height: 6, Now: time.Now}, view(lines)); err != nil {
			t.Fatal(err)
		}
		got := clitest.Display(out.String())
		want := min(lines, 5)
		if len(got) != want || got[0] != fmt.Sprintf("line 1 of %d", lines) {
			t.Errorf("of %d lines the terminal shows %q", lines, got)
		}
		if cut := strings.Contains(got[len(got)-1], "… 5 more lines"); cut != (lines == 9) {
			t.Errorf("of %d lines the terminal shows %q", lines, got)
		}
	}
	out.Reset()
	for range 2 {
		if err := w.Show(Screen{W: &out, Now: time.Now}, view(1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); got != "line 1 of 1\n\nline 1 of 1\n\n" {
		t.Errorf("a pipe gets %q", got)
	}
}
