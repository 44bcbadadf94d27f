//go:build !race

package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// wrong is a body whose bytes are not right.
type wrong struct{ io.ReadCloser }

func (w wrong) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	for i := range p[:n] {
		p[i] ^= 1
	}
	return n, err
}

// hanging is a body that does not come.
type hanging struct {
	io.ReadCloser
	ctx context.Context
}

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// A node that does not do as it should hardly holds up the others, and nothing
// wrong is ever read.
func TestBadNode(t *testing.T) {
	for name, spoil := range map[string]func(n *simNode){
		"sends wrong bytes": func(n *simNode) {
			n.give = func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) { return wrong{body}, nil }
		},
		"hangs after the header": func(n *simNode) {
			n.give = func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
				return hanging{body, ctx}, nil
			}
		},
		"hangs before the header": func(n *simNode) {
			n.give = func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
				<-ctx.Done()
				return nil, errors.Join(ctx.Err(), body.Close())
			}
		},
		"breaks off": func(n *simNode) {
			n.give = func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) {
				return struct {
					io.Reader
					io.Closer
				}{io.LimitReader(body, simPiece/2), body}, nil
			}
		},
		"is slow": func(n *simNode) { n.up.rate = 10e3 / 8 },
		"lies about the lot": func(n *simNode) {
			n.claim = func(b cut.Bitmap) cut.Bitmap { return cut.Full(len(b) * 8) }
		},
		"talks nonsense": func(n *simNode) {
			n.claim = func(b cut.Bitmap) cut.Bitmap { return make(cut.Bitmap, len(b)+3) }
		},
		"dies": func(n *simNode) {
			time.AfterFunc(time.Second, func() { n.set(func() { n.dead = true }) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 10, 100*mbit)
				img := c.push(42)
				bad := c.nodes[0]
				spoil(bad)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { _ = bad.fetch(ctx, img.digest, img.data) }()
				c.wants(img, c.nodes[1:]...)()
				cancel()
				if took := c.took() / img.oneCopy(100*mbit); took > 2 {
					t.Errorf("it took %.2f × one copy", took)
				}
				if name == "sends wrong bytes" {
					var found int64
					for _, n := range c.nodes {
						found += n.Stats().BadPieces
					}
					if found == 0 || found > 9*perPeer {
						t.Errorf("%d wrong pieces were found", found)
					}
				}
				synctest.Wait()
			})
		})
	}
}

// heldByNodes counts the pieces that the nodes have together.
func (c *cluster) heldByNodes(i image) int {
	all := cut.NewBitmap(1 << 10)
	for _, n := range c.nodes {
		if f := n.underWay(i.digest); f != nil {
			have, _, _ := f.part.State()
			for k := range have {
				all[k] |= have[k]
			}
		}
	}
	return all.Count()
}

// The manager is no longer needed once the nodes have all pieces together.
func TestManagerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 100*mbit)
		img := c.push(42)
		wait := c.wants(img, c.nodes...)
		for c.heldByNodes(img) < 42 {
			time.Sleep(10 * time.Millisecond)
		}
		sent := float64(c.manager.Stats().Sent) / float64(len(img.data))
		c.manager.set(func() { c.manager.dead = true })
		wait()
		if took := c.took() / img.oneCopy(100*mbit); took > 2 || sent > 1.3 {
			t.Errorf("it took %.2f × one copy; the manager had sent %.2f ×", took, sent)
		}
		late := c.addNode(100 * mbit) // it finds a table and all pieces at the others
		c.wants(img, late)()
	})
}

func TestManagerDies_WithPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 100*mbit)
		img := c.push(42)
		time.AfterFunc(time.Second, func() { c.manager.set(func() { c.manager.dead = true }) })
		err := c.nodes[0].fetch(t.Context(), img.digest, img.data)
		if err == nil || !strings.Contains(err.Error(), "of 42 pieces") ||
			!strings.Contains(err.Error(), "manager: no answer") {
			t.Error(err)
		}
		if took := c.took(); took < 30 || took > 35 {
			t.Errorf("it gave up after %.0f s", took)
		}
	})
}

func TestPartitionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 100*mbit)
		img := c.push(42)
		wait := c.wants(img, c.nodes...)
		time.Sleep(time.Second)
		island := func(number int) {
			for _, n := range c.nodes[5:] {
				n.set(func() { n.island = number })
			}
		}
		island(1)
		time.Sleep(10 * time.Second)
		island(0)
		healed := time.Now()
		wait()
		if took := time.Since(healed); took > 10*time.Second {
			t.Errorf("it took %v after the partition", took)
		}
	})
}

var errFull = errors.New("no space left on device")

// fullFile is a disk that fills up.
type fullFile struct {
	*memFile
	left int
}

func (f *fullFile) Make(size int64) (cut.File, error) {
	if _, err := f.memFile.Make(size); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errFull
	}
	return f.memFile.WriteAt(p, off)
}

func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, 100*mbit)
		img := c.push(42)
		wait := c.wants(img, c.nodes[1:]...)
		full := &fullFile{&memFile{n: c.nodes[0], want: img.data, d: img.digest}, 10}
		if err := c.nodes[0].Fetch(t.Context(), img.digest, full); !errors.Is(err, cut.ErrNoRoom) ||
			!errors.Is(err, errFull) {
			t.Error(err)
		}
		wait()
	})
}

// A table from a node that is not a tracker is not trusted before all pieces have led
// to the digest.
func TestWrongTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, 100*mbit)
		img := c.push(42)
		c.manager.set(func() { c.manager.dead = true })
		lie := append([]byte(nil), img.data...)
		lie[5000] ^= 1
		table, err := cut.Make(digest.FromBytes(lie), bytes.NewReader(lie), int64(len(lie)), simPiece)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[1].tables.keep(img.digest, table)
		c.nodes[1].set(func() { c.nodes[1].blobs[img.digest] = lie })
		f := &memFile{n: c.nodes[0], want: img.data, d: img.digest}
		err = c.nodes[0].Fetch(t.Context(), img.digest, f)
		if err == nil || !strings.Contains(err.Error(), "nobody gives the missing") {
			t.Error(err)
		}
		if bad := c.nodes[0].stats.badPieces.Load(); bad != 1 {
			t.Errorf("%d pieces were wrong, want the last", bad)
		}
		if f.readable > 0 || f.wrong != nil {
			t.Errorf("%d bytes could be read, %v", f.readable, f.wrong)
		}
	})
}

// A fetch that is ended leaves nothing behind.
func TestFetchIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, 1*mbit)
		img := c.push(42)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.nodes[0].fetch(ctx, img.digest, img.data); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if c.took() > 3.1 {
			t.Errorf("after %.1f s", c.took())
		}
	})
}
