// Package clitest helps to test the command line: golden files of what is drawn, an API on a
// socket, and a terminal. Each room of the command line tests its own commands with them.
package clitest

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

// CheckViews draws views on screens of all kinds. They have to look as in their golden
// files, to fit, and to be the same without colours. S is a screen, which newScreen
// returns; tooLong allows lines that are longer than the screen is wide, and may be nil.
func CheckViews[S any](t *testing.T, newScreen func(w io.Writer, now func() time.Time, width, colors int) S,
	views map[string]func(S), tooLong func(view, line string, width int) bool) {
	t.Helper()
	draw := func(view string, width, colors int) string {
		var out bytes.Buffer
		views[view](newScreen(&out, func() time.Time { return Now }, width, colors))
		return out.String()
	}
	codes := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for view := range views {
		bare, colored := draw(view, 80, 0), draw(view, 80, 256)
		Golden(t, filepath.Join("testdata", view+".80.golden"), bare)
		Golden(t, filepath.Join("testdata", view+".pipe.golden"), draw(view, 0, 0))
		Golden(t, filepath.Join("testdata", view+".color.golden"), colored)
		if codes.ReplaceAllString(colored, "") != bare {
			t.Errorf("%s differs in more than colours", view)
		}
		for width := 20; width <= 200; width++ {
			for line := range strings.Lines(draw(view, width, 0)) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > width && (tooLong == nil || !tooLong(view, line, width)) {
					t.Errorf("%s: a line of %d in %d columns: %q", view, n, width, line)
				}
			}
		}
	}
}

// Golden compares with a golden file, or writes it with -update.
func Golden(t *testing.T, path, got string) {
	t.Helper()
	if *Update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is drawn (go test -update writes it):\n%s", path, got)
	}
}

// Must returns a function that returns v, or ends the test where there is an error.
func Must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var Update = flag.Bool("update", false, "write golden files anew")

// Now is the time at which all tests happen.
var Now = time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)

// Serve answers for cluster on a unix socket, as a node does, until stop.
func Serve(cluster *apitest.Cluster) (socket string, stop func(), err error) {
	return ServeHandler(apitest.Handler(cluster, nil, slog.New(slog.DiscardHandler)))
}

// ServeHandler serves a handler on a unix socket, until stop.
func ServeHandler(h http.Handler) (socket string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "cb") // t.TempDir can be too long for a socket
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	return socket, func() {
		_ = srv.Close()
		<-served
		_ = os.RemoveAll(dir)
	}, nil
}

// OpenTerminal returns a terminal of the size given. shown closes it and
// returns all that was written to it.
func OpenTerminal(t *testing.T, columns, rows uint16) (tty *os.File, shown func() string) {
	t.Helper()
	ctrl, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(ctrl.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&text, ctrl) // ends with EIO when the terminal closes
	}()
	return tty, func() string {
		_ = tty.Close()
		<-read
		_ = ctrl.Close()
		return strings.ReplaceAll(text.String(), "\r\n", "\n")
	}
}

// Display returns what a terminal shows after text: it knows what progress uses.
func Display(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		up := 0
		if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
			up = int(rest[0] - '0')
			line = strings.TrimPrefix(rest[1:], "A\x1b[J")
		}
		lines = append(lines[:len(lines)-up], strings.TrimSuffix(line, "\n"))
	}
	return lines
}
