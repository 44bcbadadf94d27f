package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Eject writes the Dockerfile that was made into the directory, and returns its path.
// One that is there is not replaced.
func (s *Source) Eject() (path string, err error) {
	switch s.Kind {
	case Dockerfile:
		return "", fmt.Errorf("%s has a Dockerfile already, so none was made that could be written; move it away first",
			s.Dir)
	case Binary:
		return "", fmt.Errorf("%s is a program, and its Dockerfile is of no use but to crawlbox; see it with "+
			"--print-dockerfile", s.file)
	}
	path = filepath.Join(s.Dir, "Dockerfile")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s is there already; move it away first", path)
	}
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(s.Dockerfile)
	return path, errors.Join(err, f.Close())
}
