package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Directory checks that only root can put files into the data directory: there are keys in
// it, and programs that root runs. One that is not there yet is no error.
func Directory(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	if ok && (owner.Uid != 0 || mode&0o002 != 0 || mode&0o020 != 0 && owner.Gid != 0) {
		return fmt.Errorf("others than root may write to the data directory %[1]s; see what they have put there, "+
			"then `chown root:root %[1]s && chmod 700 %[1]s`, or choose another with data_dir in the config", dir)
	}
	return nil
}
