package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/holder/ask"
)

const (
	// maxEndings are the runs whose ending one asker may wait for at a time.
	maxEndings = 8192
	// maxRuns are those of one container: one runs, and others have ended. A spider can make up more.
	maxRuns = 8
	// Questions that one asker may ask a second, and at once: as many as clients that come back all at
	// a time.
	askRate, askBurst = 2000, 10_000
)

// Server answers. It is safe for concurrent use.
type Server struct {
	table  *table
	finder *finder
}

// New returns a server that knows the containers of an engine once Run runs.
func New(d Docker, log *slog.Logger) *Server {
	t := newTable(d, log)
	return &Server{table: t, finder: newFinder(t)}
}

// Run follows the engine until ctx ends. It returns nil: an engine that is away comes back.
func (s *Server) Run(ctx context.Context) error {
	s.table.follow(ctx)
	return nil
}

// Serve answers the questions that come over a connection until that or ctx ends. It closes it. What is no
// question is an error.
func (s *Server) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	a := asker{Server: s, conn: conn, endings: map[ask.Run]bool{}, runs: map[string]int{}}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		stop()
		cancel()
		conn.Close()
		a.answering.Wait()
	}()
	pace := rate.NewLimiter(askRate, askBurst)
	for lines := bound.NewStream(conn, ask.MaxLine); ; {
		var q ask.Question
		err := lines.Next(&q)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a question about a container: %w", err)
		}
		if err := a.take(ctx, q); err != nil {
			return err
		}
		if pace.Wait(ctx) != nil {
			return nil
		}
	}
}

// asker is one connection. What it asks too much is refused before the next question is read, and who
// does not read the answers is not read from.
type asker struct {
	*Server
	answering sync.WaitGroup

	writing sync.Mutex
	conn    io.ReadWriteCloser

	mu      sync.Mutex
	whos    int              // questions, until their answer is written
	ends    int              // the same
	endings map[ask.Run]bool // that are asked for
	runs    map[string]int   // of these, by container
}

func (a *asker) take(ctx context.Context, q ask.Question) error {
	switch {
	case q.Who != nil && q.Ended == nil:
		if !a.enterWho() {
			a.answer(ask.Answer{Number: q.Number, Problem: errBusy.Error()})
			return nil
		}
		a.answering.Go(func() { a.who(ctx, q) })
	case q.Ended != nil && q.Who == nil && q.Ended.Valid():
		entered, busy := a.enterEnded(*q.Ended)
		if busy {
			a.answer(ask.Answer{Ended: q.Ended, Problem: "too many containers are waited for"})
		} else if entered {
			a.answering.Go(func() { a.ended(ctx, *q.Ended) })
		}
	default:
		return fmt.Errorf("question %d about a container is none of those that there are", q.Number)
	}
	return nil
}

func (a *asker) enterWho() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.whos >= lookQueue {
		return false
	}
	a.whos++
	return true
}

func (a *asker) who(ctx context.Context, q ask.Question) {
	defer a.leave(&a.whos)
	holder, err := a.finder.who(ctx, *q.Who)
	answer := ask.Answer{Number: q.Number, Holder: holder}
	if err != nil {
		answer.Problem = short(err)
	}
	a.answer(answer)
}

func (a *asker) leave(questions *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*questions--
}

// enterEnded lets a question in, unless the same is asked already: there is one answer for both.
func (a *asker) enterEnded(run ask.Run) (entered, busy bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.endings[run]:
		return false, false
	case a.ends >= maxEndings || a.runs[run.ID] >= maxRuns:
		return false, true
	}
	a.ends++
	a.runs[run.ID]++
	a.endings[run] = true
	return true, false
}

func (a *asker) ended(ctx context.Context, run ask.Run) {
	defer a.leave(&a.ends)
	ending, err := a.table.awaitEnd(ctx, run.ID, time.Unix(0, run.Started))
	if err != nil {
		return // the connection is closed
	}
	a.mu.Lock()
	delete(a.endings, run) // first: who has the answer may ask again
	if a.runs[run.ID]--; a.runs[run.ID] == 0 {
		delete(a.runs, run.ID)
	}
	a.mu.Unlock()
	a.answer(ask.Answer{Ended: &run, Ending: &ending})
}

// answer writes an answer. Where that is not possible the connection is at its end, and so are the questions.
func (a *asker) answer(answer ask.Answer) {
	line, err := json.Marshal(answer)
	if err != nil {
		return
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	if _, err := a.conn.Write(append(line, '\n')); err != nil {
		a.conn.Close()
	}
}

// short bounds the text of an error.
func short(err error) string {
	const most = 500
	text := err.Error()
	return text[:min(len(text), most)]
}
