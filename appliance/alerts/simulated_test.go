package alerts

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// kept is a document.
type kept struct {
	mu   sync.Mutex
	data []byte
}

func (k *kept) Load() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.data, nil
}

func (k *kept) Update(_ string, fn func([]byte) ([]byte, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next, err := fn(k.data)
	if err == nil {
		k.data = next
	}
	return err
}

var (
	noon   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	policy = Policy{30 * time.Second, 5 * time.Minute, 12 * time.Hour, func(string) []string { return []string{"ops"} }}
)

// world is what leaders come and go in.
type world struct {
	now   time.Time
	store *Store
	rand  *rand.Rand
	seen  Seen
	down  bool // the receiver
	got   []Message
	dies  float64 // the leader, at each step
	lives int
	every time.Duration // a round
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	return &world{now: noon, store: NewStore(&kept{}), rand: r, lives: 1, every: 10 * time.Second}
}

var errDied = errors.New("the leader has died")

// step is each thing that a leader does.
func (w *world) step() error {
	if w.rand.Float64() < w.dies {
		return errDied
	}
	return nil
}

// does calls fn unless the leader dies before. Where it dies after, it comes to hear nothing of it.
func (w *world) does(fn func() error) error {
	if err := w.step(); err != nil {
		return err
	}
	return errors.Join(fn(), w.step())
}

func (w *world) round() error {
	self := fmt.Sprint("leader ", w.lives)
	err := w.does(func() error {
		return w.store.Update("observe", func(s State) (State, error) { return s.Observe(w.seen, policy, w.now), nil })
	})
	if err != nil {
		return err
	}
	var mine []Message
	err = w.does(func() error {
		return w.store.Update("claim", func(s State) (next State, err error) {
			next, mine = s.Claim(self, []string{"ops"}, w.now)
			return next, nil
		})
	})
	if err != nil {
		return err
	}
	for _, m := range mine {
		sent := false
		err := w.does(func() error {
			if sent = !w.down; sent {
				w.got = append(w.got, m)
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = w.does(func() error {
			return w.store.Update("note", func(s State) (State, error) {
				if sent {
					return s.Sent(m.ID), nil
				}
				return s.Failed(m.ID, self, Failure{Why: "connection refused"}, w.now), nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pass lets time go on, with a round every so often. A leader that dies is replaced 20 s later.
func (w *world) pass(by time.Duration) {
	for until := w.now.Add(by); w.now.Before(until); w.now = w.now.Add(w.every) {
		if w.round() != nil {
			w.lives++
			w.now = w.now.Add(20 * time.Second)
		}
	}
}

func failed(n int) (list []Fact) {
	for i := range n {
		list = append(list, Fact{"run-failed", fmt.Sprint("nightly-", i), Bad, "run failed: exit code 3"})
	}
	return list
}

// once returns how often each message came; the same one again has the same ID.
func (w *world) once() map[string]int {
	ids := map[string]int{}
	for _, m := range w.got {
		ids[m.ID]++
	}
	return ids
}

func (w *world) statuses() (text string) {
	for _, m := range w.got {
		counts := map[string]int{}
		for _, item := range m.Items {
			counts[item.Status]++
		}
		text += fmt.Sprintf("%v+%d ", counts, m.More)
	}
	return text
}

// TestSimulated_ManyAtOnce has 100 runs fail within 20 s, and end well later.
func TestSimulated_ManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	for n := 50; n <= 100; n += 50 {
		w.seen.Facts = failed(n)
		w.pass(10 * time.Second)
	}
	w.pass(20 * time.Minute)
	w.seen.Facts = failed(50)
	w.pass(10 * time.Second)
	w.seen.Facts = nil
	w.pass(10 * time.Minute)
	if got := w.statuses(); got != "map[firing:100]+0 map[resolved:100]+0 " {
		t.Errorf("told %s", got)
	}
	if s, err := w.store.Load(); err != nil || len(s.Alerts)+len(s.Messages) > 0 {
		t.Errorf("%+v, %v is left", s, err)
	}
}

// TestSimulated_Flapping has a node come and go for half an hour.
func TestSimulated_Flapping(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	for i := range 60 {
		if w.seen.Facts = nil; i%2 == 0 {
			w.seen.Facts = []Fact{{"node-down", "h2", Bad, "node h2 is down"}}
		}
		w.pass(time.Minute)
	}
	w.pass(10 * time.Minute)
	if got := w.statuses(); got != "map[firing:1]+0 map[resolved:1]+0 " {
		t.Errorf("told %s", got)
	}
	w.got = nil // what is shorter than the wait is not told at all
	w.seen.Facts = []Fact{{"node-down", "h2", Bad, "node h2 is down"}}
	w.pass(20 * time.Second)
	w.seen.Facts = nil
	w.pass(time.Hour)
	if got := w.statuses(); got != "" {
		t.Errorf("told %s", got)
	}
}

// TestSimulated_Repeat: what goes on is told every 12 h, with all that is about as old.
func TestSimulated_Repeat(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.every = time.Minute
	w.seen.Facts = failed(1)
	w.pass(30 * time.Minute)
	w.seen.Facts = failed(3)
	w.pass(24 * time.Hour)
	if got := w.statuses(); got != "map[firing:1]+0 map[firing:2]+0 map[repeated:3]+0 map[repeated:3]+0 " {
		t.Errorf("told %s", got)
	}
}

// TestSimulated_ReceiverDown: nothing is lost over 10 minutes without a receiver, all comes in order, once.
func TestSimulated_ReceiverDown(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.down = true
	for n := range 10 {
		w.seen.Facts = failed(n + 1)
		w.pass(time.Minute)
	}
	w.down = false
	s, err := w.store.Load()
	if err != nil || s.Messages[0].Tries < 3 || s.Messages[0].Tries > 10 || s.Messages[0].Why == "" {
		t.Errorf("while it is down: %+v, %v", s.Messages, err)
	}
	w.pass(10 * time.Minute)
	if len(w.got) != 10 {
		t.Errorf("%d messages came: %s", len(w.got), w.statuses())
	}
	for i, m := range w.got {
		if len(m.Items) != 1 || m.Items[0].Subject != fmt.Sprint("nightly-", i) {
			t.Errorf("message %d tells %+v", i, m.Items)
		}
	}
}

// TestSimulated_GivesUp: a channel that stays down costs few tries, and holds little.
func TestSimulated_GivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.down, w.every = true, time.Minute
	w.seen.Facts = failed(1)
	tries := 0
	for range 25 * 12 {
		w.pass(5 * time.Minute)
		if s, err := w.store.Load(); err != nil {
			t.Fatal(err)
		} else if len(s.Messages) > 0 {
			tries = max(tries, s.Messages[0].Tries)
		}
	}
	s, err := w.store.Load()
	if err != nil || s.Lost == 0 || len(s.Messages) > 2 || tries > 300 {
		t.Errorf("after %d tries: %+v, %v", tries, s.Messages, err)
	}
}

// TestSimulated_Leaders has leaders die in the middle of anything for a day: all that lasts is told, and over, once. A
// message comes again only with its ID.
func TestSimulated_Leaders(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(seed)
	w.dies = 0.02
	for hour := range 24 {
		w.seen.Facts = []Fact{{"node-down", fmt.Sprint("h", hour), Bad, "it is down"}}
		w.pass(20 * time.Minute)
		w.seen.Facts = nil
		w.pass(40 * time.Minute)
	}
	w.dies = 0
	w.pass(time.Hour)
	if w.lives < 20 {
		t.Errorf("leaders died %d times: that shows little", w.lives-1)
	}
	told, messages := map[string]int{}, map[string]bool{}
	for _, m := range w.got {
		if messages[m.ID] {
			continue
		}
		messages[m.ID] = true
		for _, item := range m.Items {
			told[item.Subject+" "+item.Status]++
		}
	}
	again := 0
	for _, n := range w.once() {
		again += n - 1
	}
	t.Logf("%d messages, %d again, %d leaders", len(messages), again, w.lives)
	for hour := range 24 {
		for _, status := range []string{Firing, Resolved} {
			if n := told[fmt.Sprint("h", hour, " ", status)]; n != 1 {
				t.Errorf("h%d was told %d times as %s", hour, n, status)
			}
		}
	}
}

// TestClaim_One: of two that lead at once, one sends.
func TestClaim_One(t *testing.T) {
	t.Parallel()
	s := State{}.Observe(Seen{Facts: failed(1)}, policy, noon).Observe(Seen{Facts: failed(1)}, policy,
		noon.Add(time.Minute))
	s, mine := s.Claim("a", []string{"ops"}, noon)
	if len(mine) != 1 {
		t.Fatalf("claimed %+v", mine)
	}
	if _, theirs := s.Claim("b", []string{"ops"}, noon.Add(ClaimFor-time.Second)); len(theirs) > 0 {
		t.Errorf("both have claimed %+v", theirs)
	}
	if after := s.Failed(mine[0].ID, "b", Failure{}, noon); !after.Equal(s) {
		t.Errorf("who has not claimed it changes %+v", after)
	}
	s, theirs := s.Claim("b", []string{"ops"}, noon.Add(ClaimFor))
	if len(theirs) != 1 || theirs[0].ID != mine[0].ID {
		t.Errorf("after the claim is over, b has %+v", theirs)
	}
	if s, _ = s.Claim("b", nil, noon); len(s.Messages) > 0 || s.Lost != 1 {
		t.Errorf("of a channel that is gone there is %+v", s)
	}
}

// TestRefused: what a receiver does not take as it is does not keep others from it.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := State{Messages: []Message{{ID: "1", Channel: "ops"}, {ID: "2", Channel: "ops"}}}
	now := noon
	for range maxRefused {
		var mine []Message
		if s, mine = s.Claim("a", []string{"ops"}, now); len(mine) != 1 || mine[0].ID != "1" {
			t.Fatalf("claimed %+v", mine)
		}
		s = s.Failed("1", "a", Failure{Why: "HTTP 400", Refused: true}, now)
		now = now.Add(mostRetry)
	}
	if _, mine := s.Claim("a", []string{"ops"}, now); len(mine) != 1 || mine[0].ID != "2" || s.Lost != 1 {
		t.Errorf("claimed %+v of %+v", mine, s)
	}
	s = State{Messages: []Message{{ID: "1", Channel: "ops"}}}
	s, _ = s.Claim("a", []string{"ops"}, noon)
	if s = s.Failed("1", "a", Failure{After: time.Hour}, noon); !s.Messages[0].Next.Equal(noon.Add(mostRetry)) {
		t.Errorf("asked to wait, it waits until %s", s.Messages[0].Next)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	for _, of := range []string{All, "run-failed", "nightly-0"} {
		w := newWorld(1)
		w.seen.Facts = failed(1)
		err := w.store.Update("silence", func(s State) (State, error) {
			return s.Silence(Silence{Of: of, Until: noon.Add(2 * time.Hour), By: "root@h1"}, noon)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Hour)
		if len(w.got) > 0 {
			t.Errorf("%s: told %s", of, w.statuses())
		}
		w.pass(time.Minute)
		if got := w.statuses(); got != "map[firing:1]+0 " {
			t.Errorf("%s: after it told %s", of, got)
		}
	}
	s, err := State{}.Silence(Silence{Of: "h1", Until: noon.Add(time.Hour)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if s.Silenced(Fact{Rule: "node-down", Subject: "h2"}) {
		t.Error("another node is silenced")
	}
	if s, was := s.Unsilence("h1"); !was || len(s.Silences) > 0 {
		t.Errorf("ended: %+v", s)
	}
	for i := range maxSilences + 1 {
		s, err = s.Silence(Silence{Of: fmt.Sprint(i), Until: noon.Add(time.Hour)}, noon)
	}
	if err == nil || len(s.Silences) > maxSilences {
		t.Errorf("there are %d silences", len(s.Silences))
	}
}

// TestBlind: nothing is over that only cannot be seen.
func TestBlind(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.seen.Facts = failed(1)
	w.pass(time.Minute)
	w.seen = Seen{Blind: []string{"run-failed"}}
	w.pass(time.Hour)
	if got := w.statuses(); got != "map[firing:1]+0 " {
		t.Errorf("told %s", got)
	}
}

// TestBounds: the state stays small whatever there is to tell, and says what it has no room for.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.down = true
	w.seen.Facts = failed(1000)
	for i := range w.seen.Facts {
		w.seen.Facts[i].Subject += "\n"
		w.seen.Facts[i].Text = fmt.Sprintf("\x1b[2J%01000d", i)
	}
	w.pass(time.Minute)
	err := w.store.Update("more", func(s State) (State, error) {
		for range 10 {
			s.Messages = append(s.Messages, s.Messages[0])
		}
		return s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	data, err := w.store.doc.Load()
	if err != nil || len(data) > 1<<20 {
		t.Errorf("the state has %d bytes, %v", len(data), err)
	}
	s, err := w.store.Load()
	if err != nil || len(s.Alerts) > maxAlerts || s.Lost == 0 || s.Untold == 0 {
		t.Errorf("%d alerts, %d lost, %d untold, %v", len(s.Alerts), s.Lost, s.Untold, err)
	}
	for _, item := range s.Messages[0].Items {
		if len(item.Text) > maxText+3 || item.Text[0] < ' ' {
			t.Errorf("it tells %q", item.Text)
		}
	}
}

// TestSubject_NoText: what a spider calls its queue need be no text: it is told all the same, once.
func TestSubject_NoText(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	w.seen.Facts = failed(1)
	w.seen.Facts[0].Subject, w.seen.Facts[0].Text = "jobs\xff\xc3", "jobs\xff\xc3 is stuck"
	w.pass(10 * time.Minute)
	s, err := w.store.Load()
	if err != nil || len(s.Alerts) != 1 || s.Alerts[0].Told.IsZero() {
		t.Errorf("the state is %+v, %v", s, err)
	}
}

func TestQueues(t *testing.T) {
	t.Parallel()
	const over = 6 * time.Hour
	for name, tc := range map[string]struct {
		len   func(minute int) Queue
		stuck bool
		dead  bool
	}{
		"grows":         {func(n int) Queue { return Queue{"k", int64(10 + n), 0} }, true, false},
		"stands still":  {func(int) Queue { return Queue{"k", 10, 3} }, true, false},
		"shrinks":       {func(n int) Queue { return Queue{"k", int64(1000 - n), 0} }, false, false},
		"goes down now": {func(n int) Queue { return Queue{"k", int64(10 + n - 90*(n/390)), 0} }, false, false},
		"is empty":      {func(int) Queue { return Queue{"k", 0, 1} }, false, false},
		"items die":     {func(n int) Queue { return Queue{"k", int64(1000 - n), int64(n / 10)} }, false, true},
	} {
		s := State{}
		var now []Queue
		writes := 0
		for minute := range 391 {
			now = []Queue{tc.len(minute)}
			next := s.Sampled(now, over, noon.Add(time.Duration(minute)*time.Minute))
			if !next.Equal(s) {
				writes++
			}
			s = next
		}
		if got := len(s.Stuck("queue-stuck", now)) > 0; got != tc.stuck {
			t.Errorf("%s: stuck is %v, by %+v", name, got, s.Queues)
		}
		if got := len(s.Buried("queue-dead", now)) > 0; got != tc.dead {
			t.Errorf("%s: dead is %v, by %+v", name, got, s.Queues)
		}
		if writes > 8 {
			t.Errorf("%s: written %d times", name, writes)
		}
	}
	if s := (State{}).Sampled([]Queue{{"k", 1, 0}}, over, noon); len(s.Buried("r", []Queue{{"new", 0, 2}})) != 1 {
		t.Error("items of a new key that have died are not told")
	}
}
