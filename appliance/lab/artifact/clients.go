package artifact

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// clientsDir has the programs that tests of the queue run, below the module's root.
const clientsDir = "embedded/queue/clients/testdata"

// Asynq returns the path of the program of asynq that tests of the queue run. It is a module of its own, which
// crawlbox does not need.
func Asynq(t frame.TB) string {
	t.Helper()
	path, err := buildOnce("asynq", clientsDir+"/asynq")
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

// NodeModules returns the directory of the npm packages that tests of the queue run. They are installed once for
// each state of their lock file.
func NodeModules(t frame.TB) string {
	t.Helper()
	path, err := nodeModules()
	if err != nil {
		t.Fatalf("lab: npm packages: %v", err)
	}
	return path
}

func nodeModules() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	from := filepath.Join(root, clientsDir, "node")
	lock, err := os.ReadFile(filepath.Join(from, "package-lock.json"))
	if err != nil {
		return "", err
	}
	dir, err := cached(fmt.Sprintf("npm-%x", sha256.Sum256(lock))[:16], func(path string) error {
		if err := os.CopyFS(path, os.DirFS(from)); err != nil {
			return err
		}
		npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		npm.Dir = path
		if out, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w\n%s", err, out)
		}
		return nil
	})
	return filepath.Join(dir, "node_modules"), err
}

// MachineVolumes are volumes by which containers of [EmptyImage] have this machine's programs, and cannot change them.
var MachineVolumes = []string{"/usr:/usr:ro", "/usr/bin:/bin:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro"}

// EmptyImage returns a tar file for docker import with nothing in it.
func EmptyImage(t frame.TB) string {
	t.Helper()
	path, err := emptyImage(t)
	if err != nil {
		t.Fatalf("lab: empty image: %v", err)
	}
	return path
}

func emptyImage(t frame.TB) (string, error) {
	dir, err := frame.Scratch(t)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "empty.tar")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(tar.NewWriter(file).Close(), file.Close())
}
