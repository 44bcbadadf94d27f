package source

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Tar writes the build context: all that .dockerignore leaves, sorted, owned
// by root, with the times and modes of the disk, so that the engine's cache
// knows an unchanged file again. It checks the size before it writes.
func (s *Source) Tar(ctx context.Context, w io.Writer) error {
	found, err := s.list()
	if err != nil {
		return err
	}
	if err := s.check(found); err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.write(tw); err != nil {
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	return tw.Close()
}

func (e entry) write(tw *tar.Writer) error {
	h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), ModTime: e.mtime}
	switch {
	case e.path == "":
		return send(tw, h, strings.NewReader(e.text), e.size)
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
		return tw.WriteHeader(h)
	case e.mode.Type() == fs.ModeSymlink:
		target, err := os.Readlink(e.path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return tw.WriteHeader(h)
	}
	f, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return send(tw, h, f, e.size)
}

// send writes the size that was counted: a log that grows meanwhile is cut
// there, and a file that has shrunk is an error.
func send(tw *tar.Writer, h *tar.Header, r io.Reader, size int64) error {
	h.Typeflag, h.Size = tar.TypeReg, size
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, r, size); err != nil {
		return fmt.Errorf("it changed while it was read: %w", err)
	}
	return nil
}
