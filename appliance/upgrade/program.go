package upgrade

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// MaxSize bounds a program, in bytes.
const MaxSize = 256 << 20

// versionTimeout bounds how long a program may take to say its version.
const versionTimeout = 10 * time.Second

// ErrNotCrawlbox is returned by Inspect for what is no crawlbox of this machine's
// kind.
var ErrNotCrawlbox = errors.New("not a crawlbox for this machine")

// Offer is a program as the manager offers it.
type Offer struct {
	Version string `json:"version"`
	Arch    string `json:"arch"`   // as Go names it, such as amd64
	SHA256  string `json:"sha256"` // in hex
	Size    int64  `json:"size"`   // bytes
	// State is the StateFormat of the program, where it was asked here.
	State int `json:"-"`
}

// StateFormat is how a version keeps the cluster's state: 0 on the first manager alone, 1 on all of them.
const StateFormat = 1

// machines are processors as ELF files name them, by Go's names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Inspect finds out what the program at path is. It runs it, to hear its version,
// once its headers say that it is for this machine, and whole.
func Inspect(ctx context.Context, path string) (Offer, error) {
	if err := checkHeader(path); err != nil {
		return Offer{}, fmt.Errorf("%s is %w: %w", path, ErrNotCrawlbox, err)
	}
	sum, size, err := Sum(path)
	if err != nil {
		return Offer{}, err
	}
	o, err := askVersion(ctx, path)
	if err != nil {
		return Offer{}, fmt.Errorf("%s is %w: %w", path, ErrNotCrawlbox, err)
	}
	o.Arch, o.SHA256, o.Size = runtime.GOARCH, sum, size
	return o, nil
}

// checkHeader wants a program for this machine of which nothing is cut off.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, elf.EI_DATA+1)
	if _, err := io.ReadFull(f, head); err != nil ||
		string(head) != elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)}) {
		return errors.New("it is not a program for 64-bit Linux")
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("it is cut off or damaged: %w", err)
	}
	for arch, machine := range machines {
		if program.Machine == machine && arch != runtime.GOARCH {
			return fmt.Errorf("it is for %s, this machine is %s", arch, runtime.GOARCH)
		}
	}
	if program.Machine != machines[runtime.GOARCH] {
		return fmt.Errorf("it is for another processor than %s", runtime.GOARCH)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for _, p := range program.Progs {
		if end := p.Off + p.Filesz; end > uint64(info.Size()) {
			return fmt.Errorf("it is cut off: of at least %d bytes there are %d", end, info.Size())
		}
	}
	return nil
}

// askVersion runs `PROGRAM version --json`.
func askVersion(ctx context.Context, path string) (o Offer, err error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	path, err = filepath.Abs(path) // a bare name would be looked for in $PATH
	if err != nil {
		return o, err
	}
	out, err := runOutput(ctx, path)
	switch {
	case errors.Is(err, os.ErrPermission):
		return o, fmt.Errorf("it cannot be run there (%w); make it executable, or put it where programs may be run",
			syscall.EACCES)
	case err != nil:
		return o, fmt.Errorf("it does not say its version: %w", err)
	}
	var said struct {
		Version string
		State   int
	}
	if json.Unmarshal(out, &said) != nil || said.Version == "" || len(said.Version) > 64 ||
		strings.ContainsFunc(said.Version, isUnprintable) {
		return o, errors.New("it does not say its version as crawlbox does")
	}
	return Offer{Version: said.Version, State: said.State}, nil
}

func isUnprintable(r rune) bool { return r <= ' ' || r > '~' }

// runOutput tries again where the file counts as open for writing: for a moment, a
// process that is just being started elsewhere here has all that was open.
func runOutput(ctx context.Context, path string) (out []byte, err error) {
	for range 20 {
		cmd := exec.CommandContext(ctx, path, "version", "--json")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // not systemd's socket
		cmd.WaitDelay = time.Second
		if out, err = cmd.Output(); !errors.Is(err, syscall.ETXTBSY) {
			return out, err
		}
		if clock.Sleep(ctx, 50*time.Millisecond) != nil {
			return nil, err
		}
	}
	return out, err
}

// Sum returns the SHA-256 of a file, in hex, and its size in bytes.
func Sum(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return copySum(io.Discard, f)
}

func copySum(to io.Writer, from io.Reader) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(to, h), from)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
