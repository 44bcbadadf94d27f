package tui

import (
	"bytes"
	"testing"
)

func TestScreen_Page(t *testing.T) {
	const text = "a page\n"
	for pager, want := range map[string]string{"": text, "cat": text, "tr a b": "b pbge\n", "/nonexistent": text} {
		t.Setenv("PAGER", pager)
		for width, want := range map[int]string{0: text, 80: want} {
			var out bytes.Buffer
			if err := (Screen{W: &out, Width: width}).Page(text); err != nil || out.String() != want {
				t.Errorf("PAGER=%s at %d columns: %q, %v", pager, width, out.String(), err)
			}
		}
	}
}
