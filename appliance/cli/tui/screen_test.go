package tui

import (
	"fmt"
	"testing"
)

func TestColorOf(t *testing.T) {
	t.Parallel()
	for colors, distinct := range map[int]int{16: 6, 256: len(palette)} {
		seen := map[string]bool{}
		for slot := range distinct {
			seen[Screen{Colors: colors}.ColorOf(fmt.Sprintf("spider.%d", slot+1))] = true
		}
		if len(seen) != distinct {
			t.Errorf("%d colours: %d slots in a row have only %d", colors, distinct, len(seen))
		}
	}
	s := Screen{Colors: 256}
	if s.ColorOf("robot.h1") == s.ColorOf("robot.h2") {
		t.Error("two tasks of a global service have one colour")
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text    string
		n       int
		atStart bool
		want    string
	}{
		{"spider", 6, false, "spider"}, {"spider", 5, false, "spid…"}, {"spider", 5, true, "…ider"},
		{"spinne-für", 10, false, "spinne-für"}, {"spider", 1, true, "…"}, {"spider", 0, false, ""},
	} {
		if got := cut(tt.text, tt.n, tt.atStart); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}
