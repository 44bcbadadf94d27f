package front

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

func TestLimits_WrongPasswords(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	for _, send := range []string{"AUTH x\r\n", "HELLO 3 AUTH default x\r\n", "AUTH " + enginePassword + "\r\n"} {
		c := f.stranger()
		c.write(strings.Repeat(send, 5))
		text, _ := io.ReadAll(c.in)
		n := strings.Count(string(text), "-WRONGPASS ")
		if n != admission.MaxGuesses || strings.Count(string(text), "\n") != n {
			t.Errorf("%q: got %q", send, text)
		}
	}
	c := f.stranger()
	c.write("AUTH x\r\nAUTH x\r\n") // the tenth and eleventh of the address
	if got := c.read() + c.read(); strings.Count(got, "-WRONGPASS ") != 2 {
		t.Errorf("got %q", got)
	}
	f.talk(2).want("+PONG\r\n", "PING")
}

func TestLimits_Strangers(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	known := f.talk(2)
	var conns []*talker
	for range admission.MaxStrangers + 5 {
		conns = append(conns, f.stranger())
	}
	for _, c := range conns[:5] {
		c.wantEnd("")
	}
	conns[5].want("-NOAUTH Authentication required.\r\n", "PING")
	known.want("+PONG\r\n", "PING")
	f.talk(3).want("+PONG\r\n", "PING")
}

func TestLimits_TimeToLogIn(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	silent, busy, back := f.stranger(), f.stranger(), f.talk(2)
	back.want("+RESET\r\n", "RESET")
	began := time.Now()
	go func() {
		for {
			if _, err := busy.Write([]byte("PING\r\n")); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond) // it never stops, whatever the machine does
		}
	}()
	silent.wantEnd("")
	back.wantEnd("")
	_, _ = io.Copy(io.Discard, busy.in)
	if took := time.Since(began); took < admission.LoginTimeout-time.Second {
		t.Errorf("they had %v", took)
	}
}

func TestLimits_Clients(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	f := startFront(t, Options{Engine: e.engine(), MaxMemory: 640 << 10})
	for range 10 {
		f.talk(2)
	}
	c := f.stranger()
	if got := c.read(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("got %q", got)
	}
	c.wantEnd("")
}

// TestLimits_RequestsReadWhole has clients send requests that the front reads whole, and not end them.
func TestLimits_RequestsReadWhole(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	f := startFront(t, Options{Engine: e.engine(), MaxMemory: 16 << 20})
	var group sync.WaitGroup
	for range 8 {
		c := f.talk(2)
		group.Go(func() {
			_, _ = c.Write([]byte("*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$100000000\r\n"))
			piece := make([]byte, 64<<10)
			for range 1000 {
				if _, err := c.Write(piece); err != nil {
					break
				}
				if held := f.memory.Held(); held > f.memory.Most() {
					t.Errorf("the front keeps %d bytes", held)
				}
			}
			if text, err := io.ReadAll(c.in); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a client was not cut off, and got %q", text)
			}
		})
	}
	group.Wait()
	waitUntil(t, func() error {
		if held := f.memory.Held(); held != 0 {
			return fmt.Errorf("%d bytes are kept", held)
		}
		return nil
	})
	f.talk(2).want("+PONG\r\n", "PING")
}

// TestLimits_Buffers wants the large buffers to be bounded, and clients to be served without.
func TestLimits_Buffers(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	f := startFront(t, Options{Engine: e.engine(), MaxMemory: 8 << 20})
	most := f.buffers.left.Load()
	if most != 2<<20/largeBuffer {
		t.Fatalf("there are %d", most)
	}
	var half []*talker
	for i := range 100 { // each holds a buffer
		c := f.talk(2)
		c.write("*2\r\n$3\r\nGET\r\n$1")
		half = append(half, c)
		if i%20 == 0 {
			large := strings.Repeat("x", 1<<20)
			c := f.talk(2)
			c.want("+OK\r\n", "SET", "k", large)
			c.want(bulk(large), "GET", "k")
		}
		if left := f.buffers.left.Load(); left < 0 {
			t.Fatalf("%d are left", left)
		}
	}
	for _, c := range half {
		c.write("\r\nx\r\n")
	}
	for _, c := range half {
		if got := c.read(); got != "$-1\r\n" {
			t.Errorf("got %q", got)
		}
	}
	waitUntil(t, func() error {
		if left := f.buffers.left.Load(); left != most {
			return fmt.Errorf("%d of %d are left", left, most)
		}
		return nil
	})
}

// TestLimits_IdleClientsAreCheap measures what clients take that have done something and do nothing now.
func TestLimits_IdleClientsAreCheap(t *testing.T) {
	_, f := start(t)
	const n = 1000
	var before, after runtime.MemStats
	connect := func(n int) (conns []net.Conn) {
		for range n {
			conn, err := net.Dial("tcp", f.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			_, _ = conn.Write([]byte("*2\r\n$4\r\nAUTH\r\n" + bulk(clusterPassword) + "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
			if _, err := io.ReadFull(conn, make([]byte, len("+OK\r\n$-1\r\n"))); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		return conns
	}
	connect(10)
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := connect(n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	inUse := func(m runtime.MemStats) uint64 { return m.HeapAlloc + m.StackInuse }
	each := (inUse(after) - inUse(before)) / n
	t.Logf("each of %d idle clients takes %d bytes, those of the test's own end among them", len(conns), each)
	if each > 40<<10 {
		t.Errorf("an idle client takes %d bytes", each)
	}
}
