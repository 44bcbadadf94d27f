package queue

import (
	"crypto/rand"
	"io"
	"log/slog"
	"math"
	"net"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

// FuzzStranger sends any bytes to a queue from someone who cannot know its
// password.
func FuzzStranger(f *testing.F) {
	for _, seed := range []string{
		"PING\r\nGET secret\r\nEXEC\r\nMULTI\r\nRESET\r\nSELECT 1\r\nINFO\r\nCLIENT ID\r\nQUIT\r\n",
		"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\nAUTH a b\r\nHELLO\r\nHELLO 3 SETNAME n AUTH default x\r\nFLUSHALL\r\n",
		"HELLO 2 AUTH default\r\nHELLO 3 NONSENSE\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\n",
		"*1\r\n$99999999999\r\n", "*999999\r\n", "*2\r\n:1\r\n", "\x16\x03\x01\x02\x00\x01",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	opts := Options{Addr: "127.0.0.1:0", Password: rand.Text(), Dir: f.TempDir()}
	core, err := openCore(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { core.journal.Close() })
	value := rand.Text()
	run := func(args ...string) string {
		var c engine.Context
		core.do(func() { core.engine.Run(&c, engine.Lookup(args[0]), 0, args) })
		return string(c.Out.Buf)
	}
	run("SET", "secret", value)
	f.Fuzz(func(t *testing.T, data []byte) {
		var replies string
		used := uint64(math.MaxUint64)
		for range 3 { // at times the fuzzing itself allocates
			before := allocated()
			replies = overhear(t, opts, core, data)
			if used = min(used, allocated()-before); used <= 1<<20 {
				break
			}
		}
		if most := 1<<20 + uint64(len(data))<<10; used > most {
			t.Errorf("%d bytes made it allocate %d", len(data), used)
		}
		if strings.Contains(replies, value) || strings.Contains(replies, opts.Password) {
			t.Errorf("it told %q", replies)
		}
		if got := run("DBSIZE") + run("GET", "secret"); got != ":1\r\n$26\r\n"+value+"\r\n" {
			t.Errorf("the data is now %q", got)
		}
	})
}

// overhear has a stranger send data and returns what it is answered.
func overhear(t *testing.T, opts Options, core *core, data []byte) string {
	t.Helper()
	srv, err := New(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	go func() {
		defer client.Close()
		_, _ = client.Write(data)
	}()
	var replies strings.Builder
	serveConn(t, srv, core, &tapped{server, &replies})
	return replies.String()
}

// serveConn serves a stranger, which must not get in.
func serveConn(t *testing.T, srv *Server, core *core, conn net.Conn) {
	t.Helper()
	newConn(conn, srv.newSession(core, conn), func() { t.Error("a stranger logged in") }).serve(t.Context())
}

// tapped is a connection whose replies go elsewhere: a pipe would stop a stranger
// that writes and does not read.
type tapped struct {
	net.Conn
	to io.Writer
}

func (c *tapped) Write(p []byte) (int, error) { return c.to.Write(p) }

// allocated counts the bytes allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
