package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

var addr = netip.MustParseAddr("10.0.0.2")

func machine(t *testing.T) configs.Config {
	t.Helper()
	cfg := configs.Default()
	cfg.DataDir = t.TempDir()
	cfg.File = filepath.Join(cfg.DataDir, "etc", "crawlbox.yaml")
	return cfg
}

func write(t *testing.T, path, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a home with a queue, and a manager that keeps a copy of it.
type pair struct {
	home   *Home
	keeper *Keeper
	to     netip.AddrPort
	run    string
	refuse bool
}

func newPair(t *testing.T) *pair {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	own := machine(t)
	own.Queue = &configs.Queue{Port: 7891}
	write(t, own.File, "queue: {}\n")
	write(t, filepath.Join(own.DataDir, "queue.password"), "hush")
	if err := setup.Keep(own, "c1", netip.MustParseAddr("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	p := &pair{keeper: &Keeper{Config: machine(t), Log: log}, run: "1-1"}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.refuse {
			http.Error(w, "no", http.StatusConflict)
			return
		}
		p.keeper.Handlers()[0].ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.to = netip.MustParseAddrPort(srv.Listener.Addr().String())
	p.home = &Home{
		Config: own, Name: "h1", Run: func() string { return p.run },
		Others: func() []Manager { return []Manager{{"h2", p.to}} },
		Client: srv.Client, Log: log,
	}
	return p
}

// bring brings what is new once.
func (p *pair) bring(t *testing.T) error {
	t.Helper()
	p.home.mu.Lock()
	if p.home.peers == nil {
		p.home.begun, p.home.peers = time.Now(), map[netip.AddrPort]*peer{}
	}
	p.home.mu.Unlock()
	for to, m := range p.home.idle() {
		p.home.bring(t.Context(), to, m, p.home.Run)
		return m.err
	}
	t.Fatal("nobody is to be brought a copy")
	return nil
}

// same wants the copy to be the journal as it is.
func (p *pair) same(t *testing.T) {
	t.Helper()
	c, err := Have(p.keeper.Config.DataDir)
	if err != nil || c == nil || c.Run != p.run || c.Home != "h1" || time.Since(c.Time) > time.Minute {
		t.Fatalf("the copy is %+v, %v", c, err)
	}
	read := func(dir string) (all []string) {
		files, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(files)
		for _, f := range files {
			data := make([]byte, f.size)
			if _, err := f.ReadAt(data, 0); err != nil && f.size > 0 {
				t.Fatal(err)
			}
			all = append(all, f.name+" "+string(data))
		}
		return all
	}
	kept := filepath.Join(c.directory(p.keeper.Config.DataDir), "queue")
	if got, want := read(kept), read(p.home.Config.QueueDir()); !slices.Equal(got, want) {
		t.Errorf("the copy has\n%.300q\nand the journal\n%.300q", got, want)
	}
	list, err := os.ReadDir(kept)
	if err != nil || len(list) != len(read(kept)) {
		t.Errorf("there are %v, %v", list, err)
	}
	if dirs, _ := filepath.Glob(filepath.Join(place(p.keeper.Config.DataDir), "*-*")); len(dirs) != 1 {
		t.Errorf("there are copies %q", dirs)
	}
}

// TestCopies follows a journal that grows, is rewritten, and is that of another process, with answers that get lost.
func TestCopies(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	dir := p.home.Config.QueueDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for i, step := range []func(){
		func() { write(t, file("segment-0000000001"), "one") },
		func() {},
		func() { write(t, file("segment-0000000001"), "one and more") },
		func() { write(t, file("segment-0000000002"), "") },
		func() { write(t, file("segment-0000000002"), "two") },
		func() { // a rewrite that is under way
			write(t, file(".snapshot-0000000002123"), "sn")
			write(t, file("segment-0000000003"), "three")
		},
		func() {
			write(t, file("snapshot-0000000002"), "snap")
			write(t, file("segment-0000000003"), "three and more")
		},
		func() {
			for _, name := range []string{"segment-0000000001", "segment-0000000002", ".snapshot-0000000002123"} {
				if err := os.Remove(file(name)); err != nil {
					t.Fatal(err)
				}
			}
		},
		func() { p.run = "1-2"; write(t, file("segment-0000000003"), "cut") },
		func() { p.keeper = &Keeper{Config: p.keeper.Config, Log: p.keeper.Log} },
		func() { write(t, file("segment-0000000003"), "cut and more") },
	} {
		step()
		if i%3 == 2 { // what it has is not known after that
			p.refuse = true
			if err := p.bring(t); err == nil {
				t.Error("a refusal is none")
			}
			p.refuse = false
		}
		if err := p.bring(t); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
		p.same(t)
	}
	// Somebody has touched the copy.
	c, _ := Have(p.keeper.Config.DataDir)
	write(t, filepath.Join(c.directory(p.keeper.Config.DataDir), "queue", "segment-0000000003"), "other")
	if err := p.bring(t); err == nil {
		t.Error("a copy that is another one is appended to")
	}
	if err := p.bring(t); err != nil {
		t.Error(err)
	}
	p.same(t)
}

// TestCopies_Process wants nothing brought while the queue does not run, nor what may be of two processes.
func TestCopies_Process(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	write(t, filepath.Join(p.home.Config.QueueDir(), "segment-0000000001"), "one")
	p.run = ""
	if err := p.bring(t); err == nil {
		t.Error("a queue that does not run was copied")
	}
	asked := 0
	p.home.Run = func() string { asked++; return fmt.Sprint("1-", asked) }
	if err := p.bring(t); err == nil || !strings.Contains(err.Error(), "begins anew") {
		t.Errorf("of two processes: %v", err)
	}
	if c, err := Have(p.keeper.Config.DataDir); c != nil || err != nil {
		t.Errorf("there is %+v, %v", c, err)
	}
}

// TestCopies_EvilProcess wants nothing read but files of the journal, whatever the queue's process has put there.
func TestCopies_EvilProcess(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "hush")
	for what, put := range map[string]func(path string) error{
		"a link":         func(path string) error { return os.Symlink(secret, path) },
		"a pipe":         func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"a link nowhere": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		p := newPair(t)
		dir := p.home.Config.QueueDir()
		write(t, filepath.Join(dir, "lock"), "")
		if err := put(filepath.Join(dir, "segment-0000000001")); err != nil {
			t.Fatal(err)
		}
		if err := p.bring(t); err == nil {
			t.Errorf("%s was copied", what)
		}
	}
}

// TestKeep_Refused wants parcels refused that are none, and copies where they can't be used.
func TestKeep_Refused(t *testing.T) {
	t.Parallel()
	part := func(name string, at, size int64) []part { return []part{{name, at, size}} }
	for what, bad := range map[string]parcel{
		"no run":         {Home: "h1"},
		"a path as run":  {Run: "../x"},
		"a path as file": {Run: "1", Files: part("../segment-0000000001", 0, 1)},
		"another file":   {Run: "1", Files: part("lock", 0, 1)},
		"a hole":         {Run: "1", Files: part("segment-0000000001", 5, 1)},
		"less than none": {Run: "1", Files: part("segment-0000000001", -1, 1)},
		"too large":      {Run: "1", Files: part("segment-0000000001", 1, 1<<63-1)},
		"no room":        {Run: "1", Files: part("segment-0000000001", 0, 1<<60)},
		"cut off":        {Run: "1", Files: part("segment-0000000001", 0, 10)},
		"twice":          {Run: "1", Files: slices.Repeat(part("segment-0000000001", 0, 1), 2)},
		"another text":   {Run: "1", Small: map[string][]byte{"../../evil": nil}},
	} {
		k := &Keeper{Config: machine(t), Log: slog.New(slog.DiscardHandler)}
		var body strings.Builder
		if err := bad.write(&body); err != nil {
			t.Fatal(err)
		}
		if err := k.keep(strings.NewReader(body.String() + "x")); err == nil {
			t.Errorf("%s was kept", what)
		}
		if c, err := Have(k.Config.DataDir); c != nil || err != nil {
			t.Errorf("%s: there is %+v, %v", what, c, err)
		}
	}
	p := newPair(t)
	write(t, p.keeper.Config.File, "log_level: warn\n")
	if err := p.bring(t); err == nil || !strings.Contains(err.Error(), "has a config file of its own") {
		t.Errorf("beside a config of its own: %v", err)
	}
	if text := p.home.Problem(); text != "" {
		t.Errorf("at once it says %q", text)
	}
	p.home.begun = p.home.begun.Add(-2 * late)
	if text := p.home.Problem(); !strings.Contains(text, "h2: it has a config file of its own") {
		t.Errorf("later it says %q", text)
	}
	if err := setup.Keep(p.keeper.Config, "c1", addr); err != nil {
		t.Fatal(err)
	}
	if err := p.bring(t); err == nil || !strings.Contains(err.Error(), "it is the home") {
		t.Errorf("at a home: %v", err)
	}
}

// FuzzParcel wants parcels from anybody to be read without harm.
func FuzzParcel(f *testing.F) {
	var body strings.Builder
	_ = parcel{Run: "1", Files: []part{{"segment-0000000001", 0, 1}}}.write(&body)
	f.Add([]byte(body.String() + "x"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := readParcel(strings.NewReader(string(data)))
		if err == nil && !p.valid() {
			t.Errorf("%+v is read", p)
		}
	})
}

// serve runs the embedded queue in a directory until stop is called.
func serve(t *testing.T, dir string) (client *redis.Client, stop func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: "hush", Dir: dir}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	client = redis.NewClient(&redis.Options{Addr: s.Addr(), Password: "hush"})
	return client, func() {
		client.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// copied reports whether a text is in the copy.
func (p *pair) copied(t *testing.T, text string) bool {
	t.Helper()
	c, err := Have(p.keeper.Config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := open(filepath.Join(c.directory(p.keeper.Config.DataDir), "queue"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(files)
	for _, f := range files {
		data := make([]byte, f.size)
		if _, err := f.ReadAt(data, 0); err == nil && strings.Contains(string(data), text) {
			return true
		}
	}
	return false
}

// TestAdopt begins a queue from a copy that was made while items came all the time, and has none missing that were
// there before the last copy began.
func TestAdopt(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	client, stop := serve(t, p.home.Config.QueueDir())
	ctx, cancel := context.WithCancel(t.Context())
	acked := make(chan int, 1)
	go func() {
		n := 0
		for item := strings.Repeat("x", 10_000); ctx.Err() == nil; n++ {
			if client.RPush(ctx, "items", fmt.Sprint(n, " ", item)).Err() != nil {
				break
			}
			client.LTrim(ctx, "items", -100, -1) // so that the journal is rewritten
		}
		acked <- n
	}()
	first := ""
	for i := 0; i < 500; i++ {
		if err := p.bring(t); err != nil {
			t.Fatal(err)
		}
		files, err := open(p.home.Config.QueueDir())
		if err != nil {
			t.Fatal(err)
		}
		closeAll(files)
		if first == "" {
			first = files[0].name
		}
		if i > 20 && files[0].name != first { // it was rewritten
			break
		}
	}
	before := ""
	for until := time.Now().Add(10 * time.Second); ; {
		before = client.LIndex(t.Context(), "items", -1).Val() // the newest: others go, and the journal is rewritten
		if err := p.bring(t); err != nil {
			t.Fatal(err)
		}
		if p.copied(t, before[:strings.IndexByte(before, ' ')+100]) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("no item that was taken is in the copy after 10 s")
		}
	}
	cancel()
	n := <-acked
	stop()

	to := p.keeper.Config
	to.Queue = &configs.Queue{DataDir: filepath.Join(to.DataDir, "elsewhere")}
	for range 2 {
		if err := Adopt(to, "c1", addr); err != nil {
			t.Fatal(err)
		}
	}
	if setup.StateOf(to) != setup.Created {
		t.Error("it is not the home")
	}
	if c, err := Have(to.DataDir); c != nil || err != nil {
		t.Errorf("there is a copy still: %+v, %v", c, err)
	}
	if got := home.Before(to.DataDir); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) {
		t.Errorf("the homes before are %v", got)
	}
	if text, err := os.ReadFile(filepath.Join(to.DataDir, "queue.password")); string(text) != "hush" {
		t.Errorf("the password is %q, %v", text, err)
	}
	if _, err := os.Stat(to.File); err == nil {
		t.Error("the config file was replaced")
	}
	client, stop = serve(t, to.QueueDir())
	defer stop()
	var last, then int
	_, err1 := fmt.Sscan(client.LIndex(t.Context(), "items", -1).Val(), &last)
	_, err2 := fmt.Sscan(before, &then)
	if err := errors.Join(err1, err2); err != nil || last < then || last >= n+1 {
		t.Errorf("the last item is %d, want %d to %d: %v", last, then, n, err)
	}
	t.Logf("of %d items the copy has %d", n, last)
}

// TestAdopt_Nothing begins an empty queue where there is no copy.
func TestAdopt_Nothing(t *testing.T) {
	t.Parallel()
	to := machine(t)
	knows := memory{beat: homeNumber(2), Agreed: 4}
	if err := (&Keeper{Config: to}).save(knows); err != nil {
		t.Fatal(err)
	}
	if err := Adopt(to, "c1", addr); err != nil || setup.StateOf(to) != setup.Created {
		t.Errorf("%v, %v", setup.StateOf(to), err)
	}
	if n := home.Number(to.DataDir); n <= knows.Agreed {
		t.Errorf("it has the number %d, and the others know of %d", n, knows.Agreed)
	}
}
