package tui

import (
	"context"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Raw hands what is typed on a terminal over as it is, Ctrl-C too, until restore is called.
func Raw(in io.Reader) (restore func(), err error) {
	fd := int(terminal(in).Fd())
	was, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd, was) }, nil
}

// Bare returns the terminal behind a writer, which then obeys what is written to it; or the writer,
// where it is none.
func Bare(w io.Writer) io.Writer {
	if file := terminal(w); file != nil {
		return file
	}
	return w
}

// Characters returns the size of the terminal behind a writer; 0 where it has none.
func Characters(w io.Writer) (width, height uint16) {
	columns, lines, err := term.GetSize(int(terminal(w).Fd()))
	if err != nil {
		return 0, 0
	}
	return uint16(columns), uint16(lines)
}

// Resized calls fn each time that the terminal behind a writer has another size, until ctx ends.
func Resized(ctx context.Context, w io.Writer, fn func(width, height uint16)) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-changed:
			fn(Characters(w))
		case <-ctx.Done():
			return
		}
	}
}
