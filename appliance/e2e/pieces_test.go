package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// pieces are those of an image that was pushed, known by their first bytes: the
// image is noise.
type pieces struct {
	*testing.T
	ref    string // by its digest
	starts map[string]bool
}

const (
	pieceSize  = 1 << 20
	pieceStart = 64
)

// pushNoise pushes an image of 42 MB that no host has anything of.
func (c *cluster) pushNoise(name string) *pieces {
	c.Helper()
	ref := "localhost:8003/" + name + ":1"
	c.manager.Load(artifact.Versions(c, ref)[0])
	c.manager.Docker("push", "--quiet", ref)
	digest := c.image(name, "1").Digest
	p := &pieces{T: c.T, ref: "localhost:8003/" + name + "@" + digest, starts: map[string]bool{}}
	content, err := os.ReadFile(c.blobFile(digest))
	if err != nil {
		c.Fatal(err)
	}
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal(content, &manifest); err != nil {
		c.Fatal(err)
	}
	for _, l := range manifest.Layers {
		startsIn(c.blobFile(l.Digest), func(start string) { p.starts[start] = true })
	}
	if len(p.starts) < 40 {
		c.Fatalf("the image has %d pieces", len(p.starts))
	}
	return p
}

// blobFile is where the manager's registry has a blob.
func (c *cluster) blobFile(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return stateOf(c.manager) + "/registry/docker/registry/v2/blobs/sha256/" + hex[:2] + "/" + hex + "/data"
}

// stateOf is where the data directory of the crawlbox on a host is for this process.
func stateOf(h *lab.Host) string { return fmt.Sprintf("/proc/%d/root/var/lib/crawlbox", h.PID()) }

// startsIn reads the first bytes of all pieces of a file, as far as it is there.
func startsIn(path string, fn func(string)) {
	f, err := os.Open(path)
	if err != nil {
		return // it was renamed, or given up
	}
	defer f.Close()
	start := make([]byte, pieceStart)
	for at := int64(0); ; at += pieceSize {
		if _, err := f.ReadAt(start, at); err != nil {
			return
		}
		fn(string(start))
	}
}

// on are the pieces that the mirror of a host has, half-written blobs included.
func (p *pieces) on(h *lab.Host) map[string]bool {
	has := map[string]bool{}
	_ = filepath.WalkDir(stateOf(h)+"/mirror", func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			startsIn(path, func(start string) {
				if p.starts[start] {
					has[start] = true
				}
			})
		}
		return nil // what vanishes meanwhile is not held
	})
	return has
}

// await waits until the mirrors of the hosts hold so many pieces between them, and
// returns how many each has.
func (p *pieces) await(hosts []*lab.Host, n int) (each []int) {
	p.Helper()
	lab.WaitFor(p, patience, fmt.Sprintf("%d pieces of %s", n, p.ref), func() error {
		all := map[string]bool{}
		each = each[:0]
		for _, h := range hosts {
			has := p.on(h)
			each = append(each, len(has))
			for start := range has {
				all[start] = true
			}
		}
		if len(all) < n {
			return fmt.Errorf("%d of %d are there, on each host %v", len(all), n, each)
		}
		return nil
	})
	return each
}

// pulls are runs of docker pull of one image.
type pulls struct {
	*pieces
	begun time.Time
	hosts []*lab.Host
	procs []*lab.Proc
}

// pullOn begins to pull the image on hosts, all at once.
func (p *pieces) pullOn(hosts ...*lab.Host) *pulls {
	p.Helper()
	all := &pulls{pieces: p, begun: time.Now(), hosts: hosts}
	for _, h := range hosts {
		all.procs = append(all.procs, h.Start("pull", "docker", "pull", p.ref))
	}
	return all
}

// underWay is how many have not ended.
func (a *pulls) underWay() (n int) {
	for _, p := range a.procs {
		select {
		case <-p.Done():
		default:
			n++
		}
	}
	return n
}

// wantUnderWay fails the test if there is nothing left that could go wrong.
func (a *pulls) wantUnderWay(when string) {
	a.Helper()
	n := a.underWay()
	if n == 0 {
		a.Errorf("no pull was under way %s", when)
	}
	a.Logf("%d of %d pulls were under way %s", n, len(a.procs), when)
}

// endWell waits for all, each of which must have brought the image.
func (a *pulls) endWell() {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	for i, p := range a.procs {
		if code, err := p.Wait(ctx); err != nil || code != 0 {
			a.Fatalf("docker pull on %s ended with %d, %v:\n%s", a.hosts[i].Name(), code, err, tailOf(p.Logs()))
		}
		a.hosts[i].Docker("image", "inspect", a.ref)
	}
	a.Logf("%d pulls took %s", len(a.procs), time.Since(a.begun).Round(100*time.Millisecond))
}

func tailOf(text string) string {
	const most = 2000
	if len(text) > most {
		return text[len(text)-most:]
	}
	return text
}

// fill writes to the file until its disk is full, and returns what makes room.
func (p *pieces) fill(path string) (empty func()) {
	p.Helper()
	f, err := os.Create(path)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	if n, err := io.Copy(f, zeros{}); err == nil || n == 0 {
		p.Fatalf("the disk takes %d bytes, %v", n, err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			p.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
