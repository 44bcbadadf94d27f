package taskexec

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// program is one that copies its input to its output, and ends with a code.
type program struct {
	in    *io.PipeReader
	to    *io.PipeWriter
	size  chan Size
	code  int
	wrong error // of its end
}

func newProgram() *program {
	in, to := io.Pipe()
	return &program{in: in, to: to, size: make(chan Size, 1), code: 7}
}

func (p *program) Write(data []byte) (int, error) { return p.to.Write(data) }
func (p *program) CloseInput() error              { return p.to.Close() }
func (p *program) Close() error                   { return p.in.CloseWithError(io.ErrClosedPipe) }

func (p *program) Output(stdout, stderr io.Writer) error {
	if _, err := io.WriteString(stderr, "begun\n"); err != nil {
		return err
	}
	_, err := io.Copy(stdout, p.in)
	return err
}

func (p *program) Resize(_ context.Context, s Size) error {
	p.size <- s
	return nil
}

func (p *program) ExitCode(context.Context) (int, error) { return p.code, p.wrong }

// connect serves a program, with somebody in between as the manager is.
func connect(t *testing.T, p *program) (conn io.ReadWriteCloser, ended <-chan struct{}) {
	t.Helper()
	near, far := net.Pipe()
	node, relayed := net.Pipe()
	done := make(chan struct{})
	go Relay(t.Context(), far, relayed)
	go func() {
		defer close(done)
		Serve(t.Context(), node, p)
	}()
	return near, done
}

func TestRun(t *testing.T) {
	t.Parallel()
	p := newProgram()
	conn, ended := connect(t, p)
	text := strings.Repeat("more than a frame holds ", 20_000)
	sizes := make(chan Size, 1)
	sizes <- Size{80, 24}
	var out, errs bytes.Buffer
	code, err := Run(t.Context(), conn, Streams{In: strings.NewReader(text), Out: &out, Err: &errs, Sizes: sizes})
	if code != 7 || err != nil || out.String() != text || errs.String() != "begun\n" {
		t.Errorf("ended with %d, %v; %d bytes of %d, and %q", code, err, out.Len(), len(text), errs.String())
	}
	if got := <-p.size; got != (Size{80, 24}) {
		t.Errorf("its terminal has the size %v", got)
	}
	<-ended
}

func TestRun_Ends(t *testing.T) {
	t.Parallel()
	p := newProgram()
	p.wrong = errors.New("nobody knows")
	conn, ended := connect(t, p)
	_, err := Run(t.Context(), conn, Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if err == nil || err.Error() != "nobody knows" {
		t.Errorf("got %v", err)
	}
	<-ended

	conn, ended = connect(t, newProgram())
	ctx, cancel := context.WithCancel(t.Context())
	begun := writer(func([]byte) { cancel() })
	if _, err := Run(ctx, conn, Streams{Out: io.Discard, Err: begun}); !errors.Is(err, context.Canceled) {
		t.Errorf("after Ctrl-C: %v", err)
	}
	<-ended // the program's end of the connection goes with it

	near, far := net.Pipe()
	far.Close()
	if _, err := Run(t.Context(), near, Streams{Out: io.Discard, Err: io.Discard}); !errors.Is(err, ErrCut) {
		t.Errorf("without a connection: %v", err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestServe_Nonsense: what is no frame ends the connection, and takes no memory.
func TestServe_Nonsense(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"long":    "\x00\xff\xff\xff\xff",
		"unknown": "\x63\x00\x00\x00\x00",
		"resize":  "\x02\x00\x00\x00\x01x",
	} {
		conn, ended := connect(t, newProgram())
		go func() { _, _ = io.WriteString(conn, bytes) }()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%s: it goes on", name)
		}
		conn.Close()
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x03\x00\x00\x00\x02ab"))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, got, err := readFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := (&frames{w: &again}).write(kind, got); err != nil || !bytes.HasPrefix(data, again.Bytes()) {
			t.Errorf("%x is written as %x, %v", data, again.Bytes(), err)
		}
	})
}
