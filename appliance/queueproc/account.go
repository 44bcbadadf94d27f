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
			return account{}, fmt.Errorf("there is no user %s and its number %d is %s's; make the user with `useradd "+
				"--system %s`", User, spareID, taken.Username, User)
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
		return account{}, fmt.Errorf("the user %s is root (%d:%d); remove it with `userdel %s` and run `crawlbox "+
			"install` again", User, uid, gid, User)
	}
	return account{uid, gid}, nil
}

// openDirectory opens the queue's directory, made where it is missing, and gives it with
// its files to a. That of an earlier version is root's, and so are files that were
// restored from a backup.
func openDirectory(path string, a account) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the queue's directory: %w; choose another with queue.data_dir in the config", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the queue's directory: %w", err)
	}
	if os.Geteuid() == 0 {
		err = changeOwner(dir, a)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf(
			"give the queue's directory %s to its user: %w: make it writable, or set queue.data_dir to another one",
			path, err), dir.Close())
	}
	return dir, nil
}

// changeOwner changes the owner of the files, and of the directory last: cut off, it is done
// again. In a directory that is not the queue's yet it begins with a look at them: what
// is not the queue's is nobody's to give away.
func changeOwner(dir *os.File, a account) error {
	is, err := stat(dir)
	if err != nil {
		return err
	}
	files, err := ownFiles(dir, a.owns(is))
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	for _, f := range append(slices.Clone(files), dir) {
		if is, err := stat(f); err != nil || a.owns(is) {
			continue
		}
		if err := unix.Fchownat(int(f.Fd()), "", a.uid, a.gid, unix.AT_EMPTY_PATH); err != nil {
			return &fs.PathError{Op: "chown", Path: f.Name(), Err: err}
		}
	}
	return unix.Fchmod(int(dir.Fd()), 0o700)
}

func (a account) owns(is unix.Stat_t) bool { return int(is.Uid) == a.uid && int(is.Gid) == a.gid }

func stat(f *os.File) (is unix.Stat_t, err error) {
	if err := unix.Fstat(int(f.Fd()), &is); err != nil {
		return is, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return is, nil
}

// ownFiles returns the queue's files in a directory, opened by name without following
// links. Others are an error, or left alone.
func ownFiles(dir *os.File, leave bool) (files []*os.File, err error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return files, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		file := os.NewFile(uintptr(fd), name)
		is, err := stat(file)
		switch own := is.Mode&unix.S_IFMT == unix.S_IFREG && is.Nlink == 1 && isJournal(name); {
		case err != nil:
			return files, errors.Join(err, file.Close())
		case own:
			files = append(files, file)
		case leave, name == "lost+found":
			file.Close()
		default:
			file.Close()
			return files, fmt.Errorf("%s has something that is not the queue's, %q; move it away, or choose another "+
				"directory with queue.data_dir in the config", dir.Name(), name)
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
