package configs

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// maxPasswordFile bounds what is read as a password, in bytes.
const maxPasswordFile = 4096

// Secret returns the queue's password: Password, or the content of PasswordFile
// without white space around it. It is empty when the file names neither, and
// the caller then makes one. An unreadable or empty PasswordFile is an error,
// since it must not turn into a queue with another password.
func (q Queue) Secret() (string, error) {
	if q.PasswordFile == "" {
		return q.Password, nil
	}
	f, err := os.Open(q.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read queue.password_file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err != nil {
		return "", fmt.Errorf("read queue.password_file: %w", err)
	}
	if len(text) > maxPasswordFile {
		return "", fmt.Errorf("read queue.password_file: %s is larger than %d bytes", q.PasswordFile, maxPasswordFile)
	}
	password := strings.TrimSpace(words.WithoutMark(string(text)))
	if password == "" {
		return "", fmt.Errorf("read queue.password_file: %s is empty", q.PasswordFile)
	}
	return password, nil
}
