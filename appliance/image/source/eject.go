package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Eject writes the Dockerfile that was made into the folder, and returns its path.
// One that is there is not replaced.
func (s *Source) Eject() (path string, err error) {
	if !s.Generated || s.Kind == Binary {
		return "", fmt.Errorf("for %s no Dockerfile was made, so there is none to write", s.Dir)
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
