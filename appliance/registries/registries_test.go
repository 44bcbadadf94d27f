package registries

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	gcrandom "github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/registries/tags"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// cluster is managers that have one state.
type cluster struct {
	*testing.T
	store state.Store
	copy  int
	grace time.Duration
	all   []*manager
}

// manager is one of them, with its two doors.
type manager struct {
	*Set
	c     *cluster
	i     int
	dir   string
	self  Manager
	door  *httptest.Server // to Docker and people
	node  *httptest.Server // to the other managers
	wrap  func(http.Handler) http.Handler
	close func()

	restart func()
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{T: t, store: statetest.Open(t, t.TempDir()), copy: 2}
	for range n {
		c.add()
	}
	return c
}

// add adds a manager.
func (c *cluster) add() *manager {
	c.Helper()
	m := &manager{c: c, i: len(c.all), dir: c.TempDir()}
	// It keeps its port while it is away.
	m.node = httptest.NewUnstartedServer(nil)
	m.self = Manager{fmt.Sprintf("h%d", m.i+1), netip.MustParseAddrPort(m.node.Listener.Addr().String())}
	m.node.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	var at atomic.Pointer[http.Handler]
	m.node.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := at.Load()
		if h == nil {
			panic(http.ErrAbortHandler) // away
		}
		(*h).ServeHTTP(w, r)
	})
	m.node.StartTLS()
	c.Cleanup(m.node.Close)
	c.all = append(c.all, m)
	m.start(&at)
	return m
}

// nodes returns what names all nodes but one.
func (c *cluster) nodes(but *manager) func() []string {
	return func() (list []string) {
		for _, m := range c.all {
			if m != but {
				list = append(list, "https://"+m.self.Addr.String())
			}
		}
		return list
	}
}

// start opens a manager; its close is that of its process.
func (m *manager) start(at *atomic.Pointer[http.Handler]) {
	c := m.c
	c.Helper()
	shared, err := tags.Open(c.store)
	if err != nil {
		c.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport}
	log := slog.New(slog.DiscardHandler)
	m.Set, err = Open(c.Context(), Options{
		Registry: registry.Options{Dir: m.dir, MinFree: -1, Grace: c.grace},
		Tags:     shared,
		Others: func() (list []Manager) {
			for _, other := range c.all {
				if other != m {
					list = append(list, other.self)
				}
			}
			return list
		},
		Client: client,
		Copies: c.copy,
		Log:    log,
	})
	if err != nil {
		c.Fatal(err)
	}
	mir, err := mirror.Open(mirror.Options{
		Dir:      c.TempDir(),
		Source:   &mirror.HTTPSource{Client: m.others.client, Bases: m.Bases, OthersClient: client, Others: c.nodes(m)},
		MaxBytes: 1 << 30,
		MinFree:  -1,
	}, log)
	if err != nil {
		c.Fatal(err)
	}
	m.Mirror(mir.Handler())
	mux := http.NewServeMux()
	for _, h := range m.Handlers() {
		mux.Handle(h.Route(), h)
	}
	var handler http.Handler = mux
	if m.wrap != nil {
		handler = m.wrap(handler)
	}
	at.Store(&handler)
	m.door = httptest.NewServer(m.Handler())
	var once sync.Once
	m.close = func() {
		once.Do(func() {
			at.Store(nil)
			m.node.CloseClientConnections()
			m.door.Close()
			mir.Close()
			transport.CloseIdleConnections()
			if err := m.Close(); err != nil {
				c.Error(err)
			}
		})
	}
	c.Cleanup(func() { m.close() })
	m.restart = func() { m.start(at) }
}

func (m *manager) ref(image string) name.Reference {
	m.c.Helper()
	ref, err := name.ParseReference(m.door.Listener.Addr().String()+"/"+image, name.Insecure)
	if err != nil {
		m.c.Fatal(err)
	}
	return ref
}

// anImage has a layer of so many bytes.
func (c *cluster) anImage(size int64) v1.Image {
	c.Helper()
	img, err := gcrandom.Image(size, 2)
	if err != nil {
		c.Fatal(err)
	}
	return img
}

func (c *cluster) digestOf(img interface{ Digest() (v1.Hash, error) }) string {
	c.Helper()
	d, err := img.Digest()
	if err != nil {
		c.Fatal(err)
	}
	return d.String()
}

func (m *manager) push(image string, img v1.Image) error {
	m.c.Helper()
	return remote.Write(m.ref(image), img, remote.WithContext(m.c.Context()), remote.WithRetryStatusCodes())
}

func (m *manager) mustPush(image string, img v1.Image) {
	m.c.Helper()
	if err := m.push(image, img); err != nil {
		m.c.Fatalf("push %s to %s: %v", image, m.self.Name, err)
	}
}

// pull reads all of an image and returns its digest.
func (m *manager) pull(image string) (string, error) {
	m.c.Helper()
	img, err := remote.Image(m.ref(image), remote.WithContext(m.c.Context()))
	if err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, r) // which checks it
		if err = errors.Join(err, r.Close()); err != nil {
			return "", err
		}
	}
	d, err := img.Digest()
	return d.String(), err
}

func (m *manager) mustPull(image, want string) {
	m.c.Helper()
	if got, err := m.pull(image); err != nil || got != want {
		m.c.Errorf("pull %s from %s: %s, %v; want %s", image, m.self.Name, got, err, want)
	}
}

// holds reports whether all of an image is in the directory of a manager.
func (m *manager) holds(repo, d string) bool {
	return m.isHere(repo, digest.Digest(d), nil, maxDepth)
}

func (c *cluster) holders(repo, d string) (n int) {
	for _, m := range c.all {
		if m.holds(repo, d) {
			n++
		}
	}
	return n
}

// TestSet_AnyManager pushes to each of three, and pulls from each by tag and digest.
func TestSet_AnyManager(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i, m := range c.all {
		img := c.anImage(200_000)
		tag, d := fmt.Sprintf("team/spider:%d", i), c.digestOf(img)
		m.mustPush(tag, img)
		if n := c.holders("team/spider", d); n != 2 {
			t.Errorf("%d managers have it, want 2", n)
		}
		for _, from := range c.all {
			from.mustPull(tag, d)
			from.mustPull("team/spider@"+d, d)
		}
	}
	for _, m := range c.all {
		images, err := m.Registry.Images(t.Context())
		if err != nil || len(images) != 3 || images[0].Size < 400_000 {
			t.Errorf("%s lists %v, %v", m.self.Name, images, err)
		}
		repo := m.ref("team/spider").Context()
		if list, err := remote.List(repo); err != nil || strings.Join(list, " ") != "0 1 2" {
			t.Errorf("%s has the tags %v, %v", m.self.Name, list, err)
		}
		list, err := remote.Catalog(t.Context(), repo.Registry)
		if err != nil || strings.Join(list, " ") != "team/spider" {
			t.Errorf("%s has the repositories %v, %v", m.self.Name, list, err)
		}
	}
	// One is removed by each of the two ways.
	if err := c.all[1].Registry.Remove(t.Context(), "team/spider:0"); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(c.all[2].ref("team/spider:1")); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.all {
		if list, err := remote.List(m.ref("team/spider").Context()); err != nil || strings.Join(list, " ") != "2" {
			t.Errorf("%s has the tags %v, %v", m.self.Name, list, err)
		}
		if _, err := m.pull("team/spider:1"); err == nil {
			t.Errorf("%s still has what was removed", m.self.Name)
		}
	}
}

// TestSet_LossOfAny has an image be there whichever manager is away, also for the next push.
func TestSet_LossOfAny(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	img := c.anImage(100_000)
	c.all[0].mustPush("spider:1", img)
	for _, lost := range c.all {
		lost.close()
		for _, m := range c.all {
			if m == lost {
				continue
			}
			m.mustPull("spider:1", c.digestOf(img))
			next := c.anImage(50_000)
			m.mustPush("spider:next", next)
			if n := c.holders("spider", c.digestOf(next)); n != 2 {
				t.Errorf("without %s %d have it, want 2", lost.self.Name, n)
			}
		}
		lost.restart()
	}
}

// TestSet_Refused refuses a push that only one manager would have, and says which does not answer.
func TestSet_Refused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.all[0].mustPush("spider:1", c.anImage(1000)) // alone
	other := c.add()
	c.all[0].patience = 10 * time.Millisecond
	other.close()
	img := c.anImage(1000)
	err := c.all[0].push("spider:2", img)
	if err == nil || !strings.Contains(err.Error(), "h2") || !strings.Contains(err.Error(), "crawlbox node rm") {
		t.Errorf("refused with %v", err)
	}
	if _, err := c.all[0].pull("spider:2"); err == nil {
		t.Error("its tag is there")
	}
	other.restart()
	c.all[0].mustPush("spider:2", img)
	other.mustPull("spider:2", c.digestOf(img))
}

// TestSet_TwoWriters has all managers push one tag at the same time, again and again: all agree on one of them.
func TestSet_TwoWriters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for range 5 {
		var mu sync.Mutex
		pushed := map[string]bool{}
		var all sync.WaitGroup
		for _, m := range c.all {
			img := c.anImage(5000)
			all.Go(func() {
				m.mustPush("spider:latest", img)
				mu.Lock()
				defer mu.Unlock()
				pushed[c.digestOf(img)] = true
			})
		}
		all.Wait()
		is, err := c.all[0].pull("spider:latest")
		if err != nil || !pushed[is] {
			t.Fatalf("%s, %v; pushed were %v", is, err, pushed)
		}
		for _, m := range c.all {
			m.mustPull("spider:latest", is)
		}
	}
}

// slowly is a body that comes in parts, and says how much of it was taken.
type slowly struct {
	io.Reader
	between func(sent int64)
	sent    int64
}

func (s *slowly) Read(p []byte) (int, error) {
	s.between(s.sent)
	n, err := s.Reader.Read(p[:min(len(p), 64<<10)])
	s.sent += int64(n)
	return n, err
}

// TestSet_WhileItComesIn wants the second manager to have most of a blob before the first has all of it.
func TestSet_WhileItComesIn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	blob := make([]byte, 4<<20)
	for i := range blob {
		blob[i] = byte(rand.IntN(256))
	}
	var passed atomic.Int64
	c.all[1].close()
	c.all[1].wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, counter{&passed}), r.Body}
			h.ServeHTTP(w, r)
		})
	}
	c.all[1].restart()
	to := doorOf(c.all[0])
	u, err := to.begin(t.Context(), "spider")
	if err != nil {
		t.Fatal(err)
	}
	err = u.send(t.Context(), &slowly{Reader: bytes.NewReader(blob), between: func(sent int64) {
		// What is in buffers on the way may be missing.
		for end := time.Now().Add(10 * time.Second); passed.Load() < sent-1<<20 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if passed.Load() < sent-1<<20 {
			t.Errorf("%d of %d bytes were passed on", passed.Load(), sent)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(blob)
	if err := u.end(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !c.all[1].Registry.Has("spider", d, false); {
		if time.Sleep(time.Millisecond); time.Now().After(end) {
			t.Fatal("the second has not got it")
		}
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// doorOf is the door of a manager.
func doorOf(m *manager) server {
	return server{&http.Client{}, m.door.URL}
}

// TestSet_PassingFails has the second manager break the passage off, be slow, or give up between a blob and its
// manifest; the push comes to its end all the same, and the image is on two.
func TestSet_PassingFails(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]func(w http.ResponseWriter, r *http.Request, nth int64) bool{
		"in the middle of a blob": func(_ http.ResponseWriter, r *http.Request, nth int64) bool {
			if r.Method != http.MethodPatch || nth > 1 {
				return false
			}
			_, _ = io.CopyN(io.Discard, r.Body, 10_000)
			panic(http.ErrAbortHandler)
		},
		"at the end of each blob": func(w http.ResponseWriter, r *http.Request, nth int64) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/uploads/") || nth > 4 {
				return false
			}
			w.WriteHeader(http.StatusInternalServerError)
			return true
		},
		"at the manifest": func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			var n atomic.Int64
			c.all[1].close()
			c.all[1].wrap = func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					nth := int64(0)
					if r.Method == http.MethodPatch || r.Method == http.MethodPut {
						nth = n.Add(1)
					}
					if !fails(w, r, nth) {
						h.ServeHTTP(w, r)
					}
				})
			}
			c.all[1].restart()
			img := c.anImage(300_000)
			c.all[0].mustPush("spider:1", img)
			if has := c.holders("spider", c.digestOf(img)); has < 2 {
				t.Errorf("%d managers have it", has)
			}
			if n.Load() == 0 {
				t.Error("the second was not asked")
			}
		})
	}
}

// TestSet_PassageBounds begins more uploads than are passed on, and leaves them.
func TestSet_PassageBounds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	for range 3 * maxPassing {
		if _, err := doorOf(c.all[0]).begin(t.Context(), "spider"); err != nil {
			t.Fatal(err)
		}
	}
	c.all[0].mu.Lock()
	n := len(c.all[0].passing)
	c.all[0].mu.Unlock()
	if n != maxPassing {
		t.Errorf("%d are passed on, want %d", n, maxPassing)
	}
	img := c.anImage(10_000)
	c.all[0].mustPush("spider:1", img)
	if n := c.holders("spider", c.digestOf(img)); n != 2 {
		t.Errorf("%d have an image that was not passed on, want 2", n)
	}
}

// TestSet_Hostile has the other manager give out what is not what was asked for: nothing of it is kept.
func TestSet_Hostile(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	img := c.anImage(10_000)
	d := c.digestOf(img)
	c.copy = 1
	c.all[1].close()
	c.all[1].restart()
	c.all[1].mustPush("spider:1", img)
	c.all[1].close()
	var endless atomic.Bool
	c.all[1].wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			body := bytes.ToUpper(rec.Body.Bytes())
			w.WriteHeader(rec.Code)
			if !strings.Contains(r.URL.Path, "/blobs/") {
				body = rec.Body.Bytes()
			}
			if _, err := w.Write(body); err != nil || !endless.Load() || r.Method != http.MethodGet {
				return
			}
			for i := 0; i < 1000; i++ {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
	}
	c.all[1].restart()
	for _, e := range []bool{false, true} {
		endless.Store(e)
		if got, err := c.all[0].pull("spider:1"); err == nil {
			t.Errorf("pulled %s", got)
		}
		if err := c.all[0].fetch(t.Context(), "spider", digest.Digest(d), maxDepth); err == nil {
			t.Error("it was fetched")
		}
	}
	if c.all[0].holds("spider", d) {
		t.Error("it is kept")
	}
	for _, path := range []string{
		"/v2/spider/manifests/latest", "/v2/spider/manifests/sha256:1", "/v2/../../etc/manifests/" + d,
	} {
		req := httptest.NewRequest(http.MethodPut, path, strings.NewReader("{}"))
		rec := httptest.NewRecorder()
		c.all[0].Registry.Own().ServeHTTP(rec, req)
		if rec.Code < 300 {
			t.Errorf("PUT %s: %d", path, rec.Code)
		}
	}
}

// TestSet_Fill has a manager that is new, and one that was away, get what is missing.
func TestSet_Fill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	var want []string
	for i := range 5 {
		img := c.anImage(20_000)
		c.all[i%2].mustPush(fmt.Sprintf("spider:%d", i), img)
		want = append(want, c.digestOf(img))
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: c.anImage(5000)},
		mutate.IndexAddendum{Add: c.anImage(5000)})
	index2 := mutate.IndexMediaType(index, types.DockerManifestList)
	if err := remote.WriteIndex(c.all[0].ref("many:1"), index2); err != nil {
		t.Fatal(err)
	}
	fresh := c.add()
	if text := fresh.Behind(); text != "" {
		t.Errorf("before it was looked: %q", text)
	}
	if fresh.Full() {
		t.Error("it counts as one that has all before it was looked")
	}
	run := func(m *manager) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = m.Run(ctx) })
		return func() { cancel(); done.Wait() }
	}
	wait := func(m *manager) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !m.Full(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it %s", m.Filled())
			}
		}
	}
	stop := run(fresh)
	wait(fresh)
	for _, d := range want {
		if !fresh.holds("spider", d) {
			t.Errorf("%s is not there", d)
		}
	}
	if !fresh.holds("many", c.digestOf(index2)) {
		t.Error("the index is not there")
	}
	if f := fresh.Filled(); f.Images != 6 || f.All != 6 || f.Bytes < 200_000 || f.Bytes != f.Total {
		t.Errorf("it says that it %s", f)
	}
	stop()
	fresh.close()
	moved := c.anImage(7000)
	c.all[0].mustPush("spider:0", moved)
	if err := c.all[0].Registry.Remove(t.Context(), "spider:1"); err != nil {
		t.Fatal(err)
	}
	fresh.restart()
	fresh.mustPull("spider:0", c.digestOf(moved)) // at once
	defer run(fresh)()
	wait(fresh)
	if !fresh.holds("spider", c.digestOf(moved)) {
		t.Error("what was pushed while it was away is not there")
	}
	written, _, err := fresh.Registry.Written(t.Context())
	if _, there := written["spider"]["1"]; err != nil || there ||
		written["spider"]["0"].Digest.String() != c.digestOf(moved) {
		t.Errorf("its directory has the tags %v, %v", written, err)
	}
}

// TestSet_Behind says on all managers how far one is that can't get all.
func TestSet_Behind(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.all[0].mustPush("spider:1", c.anImage(1000))
	if err := c.all[0].o.Tags.Set(t.Context(), "lost", "1", registry.Tag{
		Digest: digest.FromString("lost"), Size: 5 << 20, Pushed: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	fresh := c.add()
	if err := fresh.fill(t.Context(), fresh.wanted(), map[digest.Digest]time.Time{}); err == nil {
		t.Error("an image that is nowhere was brought")
	}
	for _, m := range c.all {
		text := m.Behind()
		if !strings.Contains(text, "has 1 of 2 images") || !strings.Contains(text, "of 5.2") {
			t.Errorf("%s says %q", m.self.Name, text)
		}
	}
	if fresh.full = true; fresh.Full() {
		t.Error("it counts as one that has all")
	}
}

// TestSet_GC frees space on all managers, and nothing that a push on another one counts on.
func TestSet_GC(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	a, b := c.all[0], c.all[1]
	stays := c.anImage(30_000)
	a.mustPush("spider:stays", stays)
	for i := range 5 {
		gone := c.anImage(30_000)
		a.mustPush("spider:gone", gone)
		if err := b.Registry.Remove(t.Context(), "spider:gone"); err != nil {
			t.Fatal(err)
		}
		// Its layers are told to be there to a push on b, which names them later.
		layer, err := gcrandom.Layer(10_000, types.DockerLayer)
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := mutate.AppendLayers(gone, layer)
		if err != nil {
			t.Fatal(err)
		}
		tag := fmt.Sprintf("spider:new%d", i)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := b.push(tag, pushed); err != nil {
				t.Error(err)
			}
		}()
		for swept := false; !swept; {
			select {
			case <-done:
				swept = true
			default:
			}
			if _, err := a.GC(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range c.all {
			if m.holds("spider", c.digestOf(gone)) {
				t.Errorf("%s holds what was removed", m.self.Name)
			}
			if !m.holds("spider", c.digestOf(pushed)) || !m.holds("spider", c.digestOf(stays)) {
				t.Errorf("%s lacks what was pushed", m.self.Name)
			}
		}
	}
	a.o.Sync = func(context.Context) error { return errors.New("no quorum") }
	if r, err := a.GC(t.Context(), nil); err == nil || r.Bytes != 0 {
		t.Errorf("without the newest tags: %+v, %v", r, err)
	}
}

// TestSet_Nowhere has nodes ask for what nobody has while a manager is away: no manager asks another one to ask it.
func TestSet_Nowhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var asked atomic.Int64
	for _, m := range c.all[:2] {
		m.close()
		m.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) < 200 {
					h.ServeHTTP(w, r)
				}
			})
		}
		m.restart()
	}
	c.all[2].close()
	client := c.all[0].node.Client()
	for _, kind := range []string{"manifests", "blobs"} {
		asked.Store(0)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			c.all[0].node.URL+"/v2/spider/"+kind+"/"+digest.FromString("nowhere").String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := asked.Load(); resp.StatusCode != http.StatusFailedDependency || n > 20 {
			t.Errorf("%s: %s after %d requests", kind, resp.Status, n)
		}
	}
}

// TestSet_Nested has indexes that name what others name too: it is looked at, and brought, once.
func TestSet_Nested(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	const wide = 12
	add := func(of ...mutate.Appendable) (list []mutate.Appendable) {
		for i := range wide {
			index := v1.ImageIndex(empty.Index)
			for _, child := range of {
				index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: child})
			}
			list = append(list, mutate.Annotations(index, map[string]string{"i": fmt.Sprint(i)}).(mutate.Appendable))
		}
		return list
	}
	top := add(add(c.anImage(1000))...)[0].(v1.ImageIndex)
	if err := remote.WriteIndex(c.all[0].ref("nested:1"), top); err != nil {
		t.Fatal(err)
	}
	fresh := c.add()
	own := fresh.own.client.Transport
	puts := 0
	fresh.own.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			puts++
		}
		return own.RoundTrip(r)
	})
	if err := fresh.fetch(t.Context(), "nested", digest.Digest(c.digestOf(top)), maxDepth); err != nil {
		t.Fatal(err)
	}
	if puts != 1+wide+1 {
		t.Errorf("%d manifests were brought, want each of %d once", puts, 1+wide+1)
	}
	whole := map[digest.Digest]bool{}
	if !fresh.isWhole("nested", digest.Digest(c.digestOf(top)), nil, maxDepth, whole) || len(whole) != 1+wide+1 {
		t.Errorf("%d are whole, want %d", len(whole), 1+wide+1)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSet_SweepKeeps has a manager that knows of nothing to keep ask for a collection: another one keeps what it knows
// that services may go back to.
func TestSet_SweepKeeps(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 0)
	c.grace = -1
	c.add()
	c.add()
	img := c.anImage(1000)
	c.all[0].mustPush("spider:1", img)
	c.all[1].close() // which forgets that there was a push
	c.all[1].restart()
	c.all[1].o.Pinned = func() []string { return []string{"localhost:8003/spider:1@" + c.digestOf(img)} }
	if err := c.all[1].Registry.Remove(t.Context(), "spider:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.all[0].GC(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !c.all[1].holds("spider", c.digestOf(img)) {
		t.Error("it is gone where it is known to be needed")
	}
}

// TestSet_ClocksDiffer has a tag come from a manager whose clock is ahead, and another one become the only manager
// before it has what the tag points at next: the tag is not what it was again.
func TestSet_ClocksDiffer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	m, old := c.all[0], c.anImage(1000)
	m.o.Tags.Take(registry.AllTags{}, time.Time{}, true)
	if err := m.o.Tags.Settle(t.Context()); err != nil { // the tags are taken over
		t.Fatal(err)
	}
	m.mustPush("spider@"+c.digestOf(old), old)
	ahead := registry.Tag{Digest: digest.Digest(c.digestOf(old)), Pushed: time.Now().Add(time.Hour)}
	if err := c.all[1].o.Tags.Set(t.Context(), "spider", "1", ahead); err != nil {
		t.Fatal(err)
	}
	if err := m.Registry.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := registry.Tag{Digest: digest.FromString("next"), Pushed: time.Now()}
	if err := m.o.Tags.Set(t.Context(), "spider", "1", next); err != nil {
		t.Fatal(err)
	}
	written, until, err := m.Registry.Written(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alone, err := tags.Open(c.store)
	if err != nil {
		t.Fatal(err)
	}
	alone.Take(written, until, true)
	if got := alone.All()["spider"]["1"].Digest; got != next.Digest {
		t.Errorf("the tag points at %s, want %s", got, next.Digest)
	}
}

// TestSet_ManyAsk has nodes ask a manager for a lot that it has not, all at once: it has few connections to the other
// one for that.
func TestSet_ManyAsk(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.all[1].close()
	var asked atomic.Int64
	full, release := make(chan struct{}), make(chan struct{})
	c.all[1].wrap = func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == maxConns {
				close(full)
			}
			<-release
			w.WriteHeader(http.StatusNotFound)
		})
	}
	c.all[1].restart()
	ask := func(ctx context.Context, what string) {
		req := httptest.NewRequestWithContext(ctx, http.MethodGet,
			"/v2/spider/manifests/"+digest.FromString(what).String(), http.NoBody)
		rec := httptest.NewRecorder()
		c.all[0].forNodes().ServeHTTP(rec, req)
		if ctx.Err() == nil && rec.Code != http.StatusNotFound {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	var all sync.WaitGroup
	for i := range maxConns {
		all.Go(func() { ask(t.Context(), fmt.Sprint(i)) })
	}
	<-full
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	ask(ctx, "one more")
	cancel()
	if n := asked.Load(); n != maxConns {
		t.Errorf("%d questions at a time, want %d", n, maxConns)
	}
	close(release)
	all.Wait()
}
