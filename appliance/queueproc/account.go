package queueproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// User is the system user that `crawlbox install` makes.
const User = "crawlbox-queue"

// spareID is the user and the group where there is none of that name. systemd's list
// of ranges has it in one that nobody uses.
const spareID = 60789

// account is the user that the process becomes.
type account struct{ uid, gid int }

func findAccount() (account, error) {
	u, err := user.Lookup(User)
	if errors.As(err, new(user.UnknownUserError)) {
		if taken, err := user.LookupId(strconv.Itoa(spareID)); err == nil {
			return account{}, fmt.Errorf("there is no user %s and its number %d is %s's; make the user with `useradd --system %s`", User, spareID, taken.Username, User)
		}
		return account{spareID, spareID}, nil
	}
	if err != nil {
		return account{}, fmt.Errorf("find user %s: %w", User, err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG); err != nil {
		return account{}, fmt.Errorf("find user %s: %w", User, err)
	}
	if uid == 0 || gid == 0 {
		return account{}, fmt.Errorf("the user %s is root (%d:%d); remove it with `userdel %s` and run `crawlbox install` again", User, uid, gid, User)
	}
	return account{uid, gid}, nil
}

// openFolder opens the queue's directory, made where it is missing, and gives it with
// its files to a. That of an earlier version is root's.
func openFolder(path string, a account) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the queue's directory: %w; choose another with queue.data_dir in the config", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the queue's directory: %w", err)
	}
	if err := give(dir, a); err != nil {
		dir.Close()
		return nil, fmt.Errorf("give the queue's directory to its user: %w", err)
	}
	return dir, nil
}

// give changes the owner of a directory last: cut off, it is done again. The files are
// looked at first: what is not the queue's is nobody's to give away.
func give(dir *os.File, a account) error {
	var is unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &is); err != nil {
		return err
	}
	if os.Geteuid() != 0 || int(is.Uid) == a.uid && int(is.Gid) == a.gid {
		return nil
	}
	files, err := ownFiles(dir)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	for _, f := range append(slices.Clone(files), dir) {
		if err := unix.Fchownat(int(f.Fd()), "", a.uid, a.gid, unix.AT_EMPTY_PATH); err != nil {
			return &fs.PathError{Op: "chown", Path: f.Name(), Err: err}
		}
	}
	return unix.Fchmod(int(dir.Fd()), 0o700)
}

// ownFiles are the files in a directory of the queue, opened by name without following
// links.
func ownFiles(dir *os.File) (files []*os.File, err error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == "lost+found" {
			continue
		}
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return files, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		files = append(files, os.NewFile(uintptr(fd), name))
		var is unix.Stat_t
		if err := unix.Fstat(fd, &is); err != nil {
			return files, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
		if is.Mode&unix.S_IFMT != unix.S_IFREG || is.Nlink != 1 || !isJournal(name) {
			return files, fmt.Errorf("%s has something that is not the queue's, %q; move it away, or choose another directory with queue.data_dir in the config", dir.Name(), name)
		}
	}
	return files, nil
}

// isJournal reports whether a file is one of the queue's journal, or of one that was
// cut off while it was written.
func isJournal(name string) bool {
	name = strings.TrimPrefix(name, ".")
	return name == "lock" || strings.HasPrefix(name, "segment-") || strings.HasPrefix(name, "snapshot-")
}
