// Package taskexec runs a program in the container of a task, wherever that runs, as `docker exec`
// does on one machine. The command and the task's node speak frames over one connection (frame.go):
// it goes to the manager and from there to the node, by an upgrade of HTTP each time (upgrade.go),
// and who is in between passes bytes on.
package taskexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Request says what to run.
type Request struct {
	Task    string   `json:"task"` // ID
	Command []string `json:"command"`
	Input   bool     `json:"input,omitempty"` // it reads what the user types, or pipes into it
	TTY     bool     `json:"tty,omitempty"`
	Size    Size     `json:"size,omitzero"` // of the terminal
	User    string   `json:"user,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	Env     []string `json:"env,omitempty"` // NAME=VALUE
}

// MaxRequest bounds a request on the wire, in bytes: the kernel takes no longer command lines.
const MaxRequest = 3 << 20

// Valid reports whether there is something to run.
func (r Request) Valid() bool { return r.Task != "" && len(r.Command) > 0 && r.Command[0] != "" }

// Size is that of a terminal, in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Process is a program that was started in a container.
type Process interface {
	io.Writer // its input
	CloseInput() error
	// Output copies what it writes until it has ended.
	Output(stdout, stderr io.Writer) error
	Resize(ctx context.Context, s Size) error
	// ExitCode returns that of a program that has ended.
	ExitCode(ctx context.Context) (int, error)
	Close() error
}

// exited is how it ended.
type exited struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"` // why that is not known
}

// Serve connects a program with who wants it, until it ends, the connection does, or ctx. It closes
// both.
func Serve(ctx context.Context, conn io.ReadWriteCloser, p Process) {
	end := sync.OnceFunc(func() {
		conn.Close()
		p.Close()
	})
	defer end()
	defer context.AfterFunc(ctx, end)()
	go func() {
		defer end() // the other end is gone, or talks nonsense
		for {
			kind, data, err := readFrame(conn)
			if err == nil {
				err = take(ctx, p, kind, data)
			}
			if err != nil {
				return
			}
		}
	}()
	out := &frames{w: conn}
	if err := p.Output(stream{out, output}, stream{out, failure}); err != nil {
		_ = out.write(exit, mustJSON(exited{Error: err.Error()}))
		return
	}
	code, err := p.ExitCode(ctx)
	how := exited{Code: code}
	if err != nil {
		how.Error = err.Error()
	}
	_ = out.write(exit, mustJSON(how))
}

// take gives a program what came for it.
func take(ctx context.Context, p Process, kind byte, data []byte) error {
	switch kind {
	case input:
		_, err := p.Write(data)
		return err
	case inputEnd:
		return p.CloseInput()
	case resize:
		var s Size
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		_ = p.Resize(ctx, s) // of one that has just ended
		return nil
	}
	return fmt.Errorf("frame of the unknown kind %d", kind)
}

// Streams are those of the command.
type Streams struct {
	In       io.Reader // nil: none
	Out, Err io.Writer
	Sizes    <-chan Size // of the terminal, as it changes; nil: none
}

// ErrCut is returned by Run where the connection ended before the program did. It may run on.
var ErrCut = errors.New("the connection to it was lost; it may run on")

// Run connects the command's streams with a program, and returns its exit code. It closes conn.
func Run(ctx context.Context, conn io.ReadWriteCloser, s Streams) (code int, err error) {
	end := sync.OnceFunc(func() { conn.Close() })
	defer end()
	defer context.AfterFunc(ctx, end)()
	to := &frames{w: conn}
	if s.In != nil {
		go func() {
			if _, err := io.Copy(stream{to, input}, s.In); err == nil {
				_ = to.write(inputEnd, nil)
			}
		}()
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case size := <-s.Sizes:
				_ = to.write(resize, mustJSON(size))
			case <-done:
				return
			}
		}
	}()
	for {
		kind, data, err := readFrame(conn)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			return 0, ErrCut
		}
		switch kind {
		case output:
			_, err = s.Out.Write(data)
		case failure:
			_, err = s.Err.Write(data)
		case exit:
			var how exited
			if err := json.Unmarshal(data, &how); err != nil {
				return 0, ErrCut
			}
			if how.Error != "" {
				return 0, errors.New(how.Error)
			}
			return how.Code, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Relay passes bytes on between two connections until one ends, or ctx does. It closes both.
func Relay(ctx context.Context, a, b io.ReadWriteCloser) {
	end := sync.OnceFunc(func() {
		a.Close()
		b.Close()
	})
	defer context.AfterFunc(ctx, end)()
	var both sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		both.Go(func() {
			defer end()
			_, _ = io.Copy(way[0], way[1])
		})
	}
	both.Wait()
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a struct of numbers and texts
	}
	return data
}
