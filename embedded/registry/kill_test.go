package registry

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// childDir names the data directory in the environment of a child that serves it.
const childDir = "CRAWLBOX_TEST_REGISTRY_DIR"

// serveForEver is the child: a registry to be killed.
func serveForEver(dir string) error {
	r, err := Open(context.Background(), Options{Dir: dir, MinFree: -1}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, r.Handler())
}

// A registry is killed in the middle of pushes, again and again. What a client
// was told is there must be there, and the next one opens.
func TestKilledInTheMiddleOfPushes(t *testing.T) {
	dir := t.TempDir()
	var done sync.Map
	for round := range 4 {
		pushAndKill(t, dir, round, &done)
	}
	h := start(t, Options{Dir: dir})
	n := 0
	done.Range(func(ref, _ any) bool {
		n++
		h.mustPull(ref.(string))
		return true
	})
	if n == 0 {
		t.Error("no push succeeded")
	}
	if _, err := h.Images(t.Context()); err != nil {
		t.Error(err)
	}
	for _, tag := range h.tagList("spider") {
		h.mustPull("spider:" + tag)
	}
	h.gc()
	h.push("spider:after", image(t, 1))
}

func pushAndKill(t *testing.T, dir string, round int, done *sync.Map) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("round %d: the registry did not open after the kill", round)
	}
	h := &host{t: t, addr: lines.Text()}

	first := make(chan struct{}, 3)
	var wg sync.WaitGroup
	for p := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				ref := fmt.Sprintf("spider:%d-%d-%d", round, p, i)
				err := remote.Write(h.ref(ref), image(t, 2), remote.WithTransport(noKeepAlive()),
					remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
				if err != nil {
					return // killed
				}
				done.Store(ref, true)
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 2 { // a few pushes are whole, the next ones are on their way
		<-first
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}
