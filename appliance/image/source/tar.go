package source

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
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
	if len(found) == 0 { // an engine takes an archive of nothing for a file
		found = []entry{{name: ".", mode: fs.ModeDir | 0o755}}
	}
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
	h := &tar.Header{Name: e.name, Mode: e.bits(), ModTime: e.mtime}
	switch e.mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeDevice:
		h.Typeflag = tar.TypeBlock
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
	case fs.ModeSymlink:
		target, err := os.Readlink(e.path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	default:
		return e.writeFile(tw, h)
	}
	if e.mode&fs.ModeDevice != 0 {
		h.Devmajor, h.Devminor = int64(unix.Major(e.device)), int64(unix.Minor(e.device))
	}
	return tw.WriteHeader(h)
}

// bits returns the mode as tar has it.
func (e entry) bits() int64 {
	bits := int64(e.mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// capability is the attribute by which a program may what root may, such as to ping.
const capability = "security.capability"

// writeFile writes the size that was counted: a log that grows meanwhile is cut
// there, and a file that has shrunk is an error.
func (e entry) writeFile(tw *tar.Writer, h *tar.Header) error {
	f, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, e.size
	var may [64]byte // the longest has 24
	if n, err := unix.Fgetxattr(int(f.Fd()), capability, may[:]); err == nil {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + capability: string(may[:n])}
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, f, e.size); err != nil {
		return fmt.Errorf("it changed while it was read: %w", err)
	}
	return nil
}
