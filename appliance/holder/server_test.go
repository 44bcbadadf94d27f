package holder

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/sockowner"
)

// serving is a server with an engine, and a connection to it.
type serving struct {
	*engine
	*Server
	conn  net.Conn
	ended chan error // what Serve returned
	end   func()
}

func serve(t *testing.T) *serving {
	t.Helper()
	s := &serving{engine: newEngine(nil), ended: make(chan error, 1)}
	s.Server = New(s.engine, slog.New(slog.DiscardHandler))
	s.finder.look = func(ends []sockowner.End) ([]sight, processes) { return make([]sight, len(ends)), processes{} }
	ctx, cancel := context.WithCancel(t.Context())
	near, far := net.Pipe()
	s.conn = far
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	running.Go(func() { s.ended <- s.Serve(ctx, near) })
	s.end = func() {
		cancel()
		running.Wait()
		far.Close()
	}
	time.Sleep(time.Second)
	return s
}

// TestServer has a client ask both questions.
func TestServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := ask.New(s.conn)
		addr := netip.MustParseAddrPort("127.0.0.1:1")
		if _, found, err := c.Who(t.Context(), addr, addr, time.Now()); err != nil || found {
			t.Errorf("nobody's connection: %v, %v", found, err)
		}
		run := ask.Run{ID: id(1), Started: s.begin(1).UnixNano()}
		other := ask.Run{ID: id(2), Started: s.begin(2).UnixNano()}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if e, err := c.Ended(t.Context(), run); err != nil || e != (ask.Ending{Known: true, Code: 7}) {
					t.Errorf("got %+v, %v", e, err)
				}
			})
		}
		gaveUp, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Ended(gaveUp, other); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gives up gets %v", err)
		}
		s.die(1, 7)
		wg.Wait()
		s.die(2, 0)
		if e, err := c.Ended(t.Context(), other); err != nil || !e.Done() {
			t.Errorf("who asks again gets %+v, %v", e, err)
		}
		wg.Go(func() {
			last := ask.Run{ID: id(3), Started: s.begin(3).UnixNano()}
			if _, err := c.Ended(t.Context(), last); !errors.Is(err, ask.ErrGone) {
				t.Errorf("when the node ends: %v", err)
			}
		})
		synctest.Wait()
		s.end()
		wg.Wait()
		if _, _, err := c.Who(t.Context(), addr, addr, time.Now()); !errors.Is(err, ask.ErrGone) {
			t.Errorf("after the node's end: %v", err)
		}
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
}

// TestServer_Nonsense: what is no question ends the connection, and that alone.
func TestServer_Nonsense(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"\n", "nonsense\n", "{}\n", `{"who":{},"ended":{}}` + "\n", `{"ended":{"id":"../x"}}` + "\n",
		`{"ended":{"id":"` + strings.Repeat("A", 64) + `"}}` + "\n", `{"number":-1,"who":{}}` + "\n",
		strings.Repeat("x", ask.MaxLine+1), `{"who":{"remote":"x"}}` + "\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t)
			go io.Copy(io.Discard, s.conn)
			io.WriteString(s.conn, text)
			if err := <-s.ended; err == nil {
				t.Errorf("%.50q is taken", text)
			}
			s.end()
		})
	}
}

// TestServer_Flood has an asker that does not read, and one that asks without end: what waits is bounded, and the
// questions have a pace.
func TestServer_Flood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		const each = 2 * maxEndings
		var started []int64
		for n := range each / maxRuns {
			started = append(started, s.begin(n).UnixNano())
			synctest.Wait()
		}
		stuck := make(chan struct{})
		s.finder.look = func(ends []sockowner.End) ([]sight, processes) {
			<-stuck
			return make([]sight, len(ends)), processes{}
		}
		var answers, refused int
		var reading sync.WaitGroup
		reading.Go(func() {
			lines := bufio.NewScanner(s.conn)
			for lines.Scan() {
				var a ask.Answer
				if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
					t.Error(err)
				}
				answers++
				if a.Problem != "" {
					refused++
				}
			}
			if err := lines.Err(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err)
			}
		})
		begun := time.Now()
		for n := range each {
			fmt.Fprintf(s.conn, `{"number":%d,"who":{"local":"","remote":"","since":0}}`+"\n", n)
			fmt.Fprintf(s.conn, `{"ended":{"id":%q,"started":%d}}`+"\n", id(n/maxRuns), started[n/maxRuns]+int64(n))
		}
		synctest.Wait()
		if took := time.Since(begun); took < (2*each-askBurst)*time.Second/askRate-time.Second {
			t.Errorf("%d questions were taken in %s", 2*each, took)
		}
		if want := 2*each - lookQueue - maxEndings; answers != want || refused != want {
			t.Errorf("%d answers, %d refused, of %d", answers, refused, 2*each)
		}
		s.end()
		reading.Wait()
		close(stuck)
		synctest.Wait()
		time.Sleep(lookRest * time.Minute)
	})
}

// TestServer_MadeUp has an asker ask for runs that a spider made up: of one container there are not many at a time, and
// one that is to begin is over.
func TestServer_MadeUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := ask.New(s.conn)
		run := ask.Run{ID: id(1), Started: s.begin(1).UnixNano()}
		synctest.Wait()
		gaveUp, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for n := range 10 * maxRuns {
			go func() { _, _ = c.Ended(gaveUp, ask.Run{ID: run.ID, Started: run.Started + int64(n)}) }()
		}
		synctest.Wait()
		more := ask.Run{ID: run.ID, Started: run.Started + 999}
		if _, err := c.Ended(t.Context(), more); !errors.Is(err, ask.ErrUnknown) {
			t.Errorf("one run more: %v", err)
		}
		for _, begins := range []time.Duration{time.Hour, 200 * 365 * 24 * time.Hour} {
			made := ask.Run{ID: id(2), Started: time.Now().Add(begins).UnixNano()}
			if e, err := c.Ended(gaveUp, made); err != nil || e.Done() {
				t.Errorf("one that begins in %s: %+v, %v", begins, e, err)
			}
		}
		s.die(1, 7)
		if e, err := c.Ended(t.Context(), run); err != nil || e.Code != 7 {
			t.Errorf("one that has ended: %+v, %v", e, err)
		}
		s.end()
	})
}

// TestServer_NobodyReads: an asker that does not read its answers is not read from.
func TestServer_NobodyReads(t *testing.T) {
	t.Parallel()
	s := serve(t)
	defer s.end()
	for n := range 2 * maxEndings {
		s.conn.SetWriteDeadline(time.Now().Add(3 * time.Second))
		_, err := fmt.Fprintf(s.conn, `{"ended":{"id":%q,"started":1}}`+"\n", id(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("%d questions were read of one that reads no answers", 2*maxEndings)
}
