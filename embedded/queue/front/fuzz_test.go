package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// socketPair returns the two ends of a connection that can be closed by halves.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// recorder is an engine that says OK to all and keeps what it was asked.
type recorder struct {
	t     testing.TB
	group sync.WaitGroup
	mu    sync.Mutex
	seen  [][]string
}

func (r *recorder) dial(context.Context) (net.Conn, error) {
	mine, theirs := socketPair(r.t)
	r.group.Go(func() {
		defer mine.Close()
		in := resp.NewReader(mine)
		in.Trusted = true
		for {
			args, err := in.Next()
			if err != nil {
				return
			}
			if len(args) > 0 {
				r.mu.Lock()
				r.seen = append(r.seen, args)
				r.mu.Unlock()
				_, _ = mine.Write([]byte("+OK\r\n"))
			}
		}
	})
	return theirs, nil
}

// FuzzRequests wants the engine to get exactly the commands that the client sent, however they are cut into pieces,
// but for those that the front does itself or refuses.
func FuzzRequests(f *testing.F) {
	for i, seed := range []string{
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nSAVE\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n",
		"*2\r\n$3\r\nGET\r\n$30\r\n\r\n*1\r\n$8\r\nSHUTDOWN\r\n*1\r\n$4\r\n\r\n*1\r\n$8\r\nSHUTDOWN\r\n",
		"*2\n$3\nGET\r\n$1\nk\r\n*02\r\n$03\r\nGET\r\n$1\r\nk\r\n*-1\r\n*0\r\n\r\n'a' \"\\x41\"\r\n",
		"*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nselect\r\n$1\r\n1\r\n*1\r\n$4\r\nEXEC\r\n",
		"*2\r\n$3\r\nGET\r\n$1\r\nkXX*1\r\n$8\r\nSHUTDOWN\r\n",
		"*2\r\n$40\r\n" + strings.Repeat("x", 40) + "\r\n$1\r\nk\r\n*1\r\n$0\r\n\r\n*1\r\n$8\r\nshutdown\r\n",
	} {
		f.Add([]byte(seed), byte(2*i))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece byte) {
		r := &recorder{t: t}
		s, err := New(Options{Addr: "x", Password: "p", Engine: Engine{Dial: r.dial}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		answers := say(t, s, append([]byte("AUTH p\r\n"), data...), int(piece)+1)
		r.group.Wait()
		want, open := passedOn(s, data)
		var got [][]string
		for _, args := range r.seen {
			if s.commands[strings.ToUpper(args[0])] == nil {
				got = append(got, args)
			}
		}
		// The front's own.
		got = slices.DeleteFunc(got, func(args []string) bool { return len(args) == 1 && args[0] == "PING" })
		broken := bytes.Contains(answers, []byte("-ERR Protocol error: "))
		whole := len(got) == len(want) || (open || broken) && len(got) <= len(want)
		if !whole || !slices.EqualFunc(got, want[:len(got)], slices.Equal) {
			t.Errorf("%q: the engine got %q, want %q", data, got, want)
		}
	})
}

// say has a client send something in pieces, and returns all that it gets.
func say(t *testing.T, s *Server, data []byte, piece int) []byte {
	client, server := socketPair(t)
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(patience))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.newSession(server, func() {}).serve(t.Context())
	}()
	go func() {
		for part := range slices.Chunk(data, piece) {
			if _, err := client.Write(part); err != nil {
				break
			}
		}
		_ = client.CloseWrite()
	}()
	answers, err := io.ReadAll(client)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q in pieces of %d: the connection does not end", data, piece)
	}
	client.Close()
	<-done
	return answers
}

// passedOn returns the commands of a client that the front does not care about. open says that more may not follow:
// it may have logged out.
func passedOn(s *Server, data []byte) (all [][]string, open bool) {
	in := resp.NewReader(bytes.NewReader(data))
	in.Trusted = true
	for {
		args, err := in.Next()
		if err != nil {
			return all, open
		}
		if len(args) == 0 || len(args) == 1 && args[0] == "PING" {
			continue
		}
		c := s.commands[strings.ToUpper(args[0])]
		open = open || c != nil && c.anyone
		if c == nil {
			all = append(all, args)
		}
	}
}

// FuzzReplies wants the ends of replies to be found at the same places however they are cut.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		"+OK\r\n:1\r\n$-1\r\n$3\r\nabc\r\n*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
		"%1\r\n+a\r\n~1\r\n,1.5\r\n>2\r\n+p\r\n_\r\n#t\r\n(1\r\n",
		"|1\r\n+a\r\n:1\r\n*1\r\n:2\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n*-1\r\n",
		"$99999999999\r\n", "*1\r\n$?\r\n", "x",
		"$03\r\nabc\r\n", "*2147483647\r\n*2147483647\r\n",
	} {
		f.Add([]byte(seed), byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece byte) {
		whole, wholeErr := ends(t, data, len(data)+1)
		cut, cutErr := ends(t, data, int(piece)+1)
		if !slices.Equal(whole, cut) || !errors.Is(wholeErr, cutErr) {
			t.Errorf("%q: ends at %d, %v; in pieces of %d at %d, %v", data, whole, wholeErr, piece+1, cut, cutErr)
		}
	})
}

// ends returns where the replies in data end, of which so much arrives at a time.
func ends(t *testing.T, data []byte, piece int) (at []int, err error) {
	var r replies
	taken := 0
	for arrived := min(piece, len(data)); ; arrived = min(arrived+piece, len(data)) {
		for {
			n, done, err := r.next(data[taken:arrived])
			if n < 0 || taken+n > arrived {
				t.Fatalf("%q: took %d of %d", data, n, arrived-taken)
			}
			taken += n
			if err != nil {
				return at, err
			}
			if done {
				at = append(at, taken)
			}
			if n == 0 {
				break
			}
		}
		if arrived == len(data) {
			return at, nil
		}
	}
}
