package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
)

const (
	// beatEvery is how often a home asks each manager whether it is the home still, and beatTimeout bounds one answer.
	beatEvery   = time.Second
	beatTimeout = 2 * time.Second
	// leaseFor is how long a home serves after a majority of the managers has said so, of which it is one.
	leaseFor = 6 * time.Second
	// Silence is for how long a manager must not have told another home that it is one. It is longer than leaseFor by
	// what a process may take to end, and a clock to be wrong.
	Silence = 8500 * time.Millisecond
	// agreesEvery is for how long a manager that has agreed to another home agrees to no further one.
	agreesEvery = 3 * time.Second
	// takeWithin is how long after it has agreed a manager may be told to be the home.
	takeWithin = 30 * time.Second

	memoryFile = "queue.home" // in the data directory
)

// beat is what a home asks each manager again and again.
type beat struct {
	Number int        `json:"number"` // each home of the queue has a higher one than that before
	Name   string     `json:"name"`
	Addr   netip.Addr `json:"addr"`
}

// verdict is the answer.
type verdict struct {
	OK bool `json:"ok"` // it is the home, for leaseFor since it asked
	// Agreed is the number of a home that it has agreed to, where that is higher.
	Agreed int `json:"agreed,omitempty"`
	// Where it is not: the home is another one now, if Number is higher.
	beat
}

var beatCall = agent.Call[beat, verdict]{
	Route:      agent.RouteHomeBeat,
	MaxRequest: 4 << 10,
	MaxAnswer:  4 << 10,
	Timeout:    beatTimeout,
	Valid:      func(b beat) bool { return b.Number >= 0 && len(b.Name) <= 256 && b.Addr.IsValid() },
	Invalid:    "it can't be read who is the home of the queue",
}

// agreement is what the manager that leads asks the others, about a home that is gone; and a home about itself, whose
// number is too low since they have agreed to another one that did not begin.
type agreement struct {
	Number int `json:"number"` // of the next home
}

// vote is the answer.
type vote struct {
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"` // it does not agree
	Known int    `json:"known"`         // the highest number that it has heard of
	Copy  *Copy  `json:"copy,omitempty"`
}

var agreeCall = agent.Call[agreement, vote]{
	Route:      agent.RouteHomeAgree,
	MaxRequest: 4 << 10,
	MaxAnswer:  4 << 10,
	Timeout:    beatTimeout,
	Valid:      func(a agreement) bool { return a.Number > 0 },
	Invalid:    "it can't be read which home is meant",
}

// takeCall has a manager that has agreed be the home, with the copy that it has.
var takeCall = agent.Call[agreement, agent.None]{
	Route:      agent.RouteHomeTakeOver,
	MaxRequest: 4 << 10,
	Timeout:    10 * time.Second,
	Valid:      func(a agreement) bool { return a.Number > 0 },
	Invalid:    "it can't be read which home is meant",
	Failed:     http.StatusConflict,
}

// memory is what a manager knows of homes, also after a start.
type memory struct {
	beat             // the home with the highest number that asked
	Told   int       `json:"told,omitempty"`   // the number of the last that was told that it is one
	Agreed int       `json:"agreed,omitempty"` // the number of the last that it agreed to
	At     time.Time `json:"at"`               // when that was
}

// remember returns the manager's memory. The caller holds k.mu.
func (k *Keeper) remember() (*memory, error) {
	if k.memory == nil {
		m := &memory{}
		if _, err := durable.ReadJSON(filepath.Join(k.Config.DataDir, memoryFile), m); err != nil {
			return nil, fmt.Errorf("read who is the home of the queue: %w", err)
		}
		k.memory = m
	}
	return k.memory, nil
}

func (k *Keeper) save(m memory) error {
	if err := durable.WriteJSON(filepath.Join(k.Config.DataDir, memoryFile), m); err != nil {
		return fmt.Errorf("keep who is the home of the queue: %w", err)
	}
	k.memory = &m
	return nil
}

// silent returns for how long no home was told that it is one. Before the start that is not known.
func (k *Keeper) silent(now time.Time) time.Duration { return now.Sub(k.told) }

// judge tells a home whether it is one.
func (k *Keeper) judge(now time.Time, b beat) (verdict, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.remember()
	if err != nil {
		return verdict{}, err
	}
	if b.Number < m.Number {
		return verdict{beat: m.beat}, nil
	}
	if b.Number < m.Agreed { // for good: who was to be that home may begin at any time
		return verdict{Agreed: m.Agreed}, nil
	}
	next := *m
	next.beat = b
	ok := b.Number == m.Told || k.silent(now) >= Silence // the one before is none for certain
	if ok {
		next.Told = b.Number
	}
	if next != *m {
		if err := k.save(next); err != nil {
			return verdict{}, err
		}
	}
	if ok {
		k.told = now
	}
	return verdict{OK: ok}, nil
}

// Told returns the number and the address of the home that was told last that it is one, which is 0 and not valid where
// that is not known.
func (k *Keeper) Told() (number int, addr netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.remember()
	if err != nil || m.Told != m.Number {
		return 0, netip.Addr{}
	}
	return m.Told, m.Addr
}

// agree agrees to another home with a number, where this manager has told no home for a while that it is one.
func (k *Keeper) agree(now time.Time, a agreement) (vote, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.remember()
	if err != nil {
		return vote{}, err
	}
	v := vote{Known: max(m.Number, m.Agreed, home.Number(k.Config.DataDir))}
	since := now.Sub(m.At)
	switch silent := k.silent(now); {
	case !m.Addr.IsValid():
		v.Why = "it has heard of no home yet"
		return v, nil
	case silent < Silence:
		v.Why = fmt.Sprintf("it has heard the home, or begun, %s ago", silent.Round(time.Second))
		return v, nil
	case a.Number <= v.Known:
		v.Why = fmt.Sprintf("it knows of home %d", v.Known)
		return v, nil
	case since >= 0 && since < agreesEvery:
		v.Why = fmt.Sprintf("it has agreed to home %d a moment ago", m.Agreed)
		return v, nil
	}
	next := *m
	next.Agreed, next.At = a.Number, now
	if err := k.save(next); err != nil {
		return v, err
	}
	if v.OK = true; k.has == nil {
		k.has, _ = Have(k.Config.DataDir)
	}
	v.Copy = k.has
	return v, nil
}

// takeOver has this manager be the home that it has agreed to.
func (k *Keeper) takeOver(ctx context.Context, now time.Time, a agreement) error {
	cluster, err := k.Cluster(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.remember()
	switch {
	case err != nil:
		return err
	case m.Agreed != a.Number || now.Sub(m.At) > takeWithin:
		return fmt.Errorf("it has not agreed to home %d, or long ago", a.Number)
	case k.has == nil:
		return errors.New("it has no copy of the queue")
	case setup.StateOf(k.Config) == setup.Created:
		return errors.New("it is the home of the queue itself")
	}
	c := *k.has
	taken := Taken{Number: a.Number, Copy: c, Lost: time.Now().Add(-k.silent(now)).UTC(), At: time.Now().UTC()}
	k.Audit("queue taken over", slog.String("from", c.Home), slog.Int("number", a.Number), slog.Time("copy", c.Time))
	if err := durable.WriteJSON(filepath.Join(k.Config.DataDir, takenFile), taken); err != nil {
		return err
	}
	if err := home.WriteNumber(c.directory(k.Config.DataDir), a.Number); err != nil {
		return err
	}
	if err := install(k.Config, c, moveID(a.Number), cluster, k.Addr); err != nil {
		return err
	}
	k.Log.Warn("this manager is the home of the queue now: the one before is gone", "before", c.Home, "copy", c.Time)
	k.Again()
	return nil
}

// takenFile is in the data directory of a home that took the queue over.
const takenFile = "queue.taken"

// Taken is what a home that took the queue over knows of that.
type Taken struct {
	Number int       `json:"number"`
	Copy   Copy      `json:"copy"`
	Lost   time.Time `json:"lost"` // the home before was heard last
	At     time.Time `json:"at"`
}

// toldFor is how long the status says that the queue was taken over.
const toldFor = 3 * 24 * time.Hour

// Said returns what is to be known of the queue's being taken over by a home with a data directory, empty where it was
// not, or long ago.
func Said(dataDir string) string {
	t := Taken{}
	found, err := durable.ReadJSON(filepath.Join(dataDir, takenFile), &t)
	if err != nil || !found || t.Number != home.Number(dataDir) || time.Since(t.At) > toldFor {
		return ""
	}
	lost := "was last heard at that moment"
	if d := t.Lost.Sub(t.Copy.Time).Round(100 * time.Millisecond); d > 0 {
		lost = fmt.Sprintf("was last heard %s later", d)
	}
	return fmt.Sprintf("the queue is here since %s, as it was at %s: %s, which had it and is gone, %s, and what it "+
		"took after the copy is lost", t.At.Local().Format(time.DateTime), t.Copy.Time.Local().Format(time.TimeOnly),
		t.Copy.Home, lost)
}

// renumber has a home that goes on with another number go on to say that it took the queue over.
func renumber(dataDir string, was, n int) error {
	t, path := Taken{}, filepath.Join(dataDir, takenFile)
	found, err := durable.ReadJSON(path, &t)
	if err != nil || !found || t.Number != was {
		return err
	}
	t.Number = n
	return durable.WriteJSON(path, t)
}

// moveID names how the queue came to a home: for that before it is a move, which it ends when it wakes up.
func moveID(number int) string { return fmt.Sprintf("takeover-%d", number) }
