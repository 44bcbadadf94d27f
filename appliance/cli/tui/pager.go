package tui

import (
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Page writes text that may be longer than the screen: on a terminal through
// $PAGER, or through less where there is one. A pager of "cat" or of no name is none.
func (s Screen) Page(text string) error {
	pager, set := os.LookupEnv("PAGER")
	if !set {
		pager = "less -R"
		if _, err := exec.LookPath("less"); err != nil {
			pager = ""
		}
	}
	if s.Width == 0 || pager == "" || pager == "cat" {
		_, err := io.WriteString(s.W, text)
		return err
	}
	// As git and man do: the pager may have flags, and Ctrl-C within it is its own.
	cmd := exec.Command("sh", "-c", pager)
	cmd.Stdin = strings.NewReader(text)
	cmd.Stdout = s.W
	if t, ok := s.W.(*Terminal); ok {
		cmd.Stdout = t.file // a page is ours
	}
	cmd.Stderr = os.Stderr
	// As git does: a short page is not paged, and what was read stays on the screen.
	cmd.Env = append(os.Environ(), "LESS="+cmp.Or(os.Getenv("LESS"), "FRX"))
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() != 127 {
		return nil // how a pager ends is its own business; 127 is no such program
	}
	if err != nil {
		_, err = io.WriteString(s.W, text)
	}
	return err
}
