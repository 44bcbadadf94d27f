package bound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		`{"a":1}`: true, " {\"a\":1}\n": true, `{"a":1} x`: false, `{"a":1}{}`: false, `{"a":`: false, ``: false,
		`{"a":1` + strings.Repeat(" ", 100) + `}`: false,
	} {
		var v struct{ A int }
		if err := JSON(strings.NewReader(text), 20, &v); (err == nil) != good || good && v.A != 1 {
			t.Errorf("%q: %+v, %v", text, v, err)
		}
	}
	var v any
	if err := JSON(endless{}, 1<<10, &v); !errors.Is(err, ErrTooLong) {
		t.Errorf("an endless one: %v", err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		``: 0, `null`: 0, `[]`: 0, ` [1, 2] `: 2, `[1,2,3]`: -1, `[1`: -1, `["a"]`: -1, `{}`: -1, `5`: -1,
	} {
		list, err := List[int]([]byte(text), 2)
		if err == nil && len(list) != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
	if _, err := List[int]([]byte(`[1,2,3]`), 2); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long one: %v", err)
	}
}

// endless is a body without an end, sent to exhaust the reader's memory.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := NewStream(strings.NewReader("{\"a\":1}\n{\"a\":2}\n{\"a\":3}"), 16)
	for want := range 3 {
		var v struct{ A int }
		if err := s.Next(&v); err != nil || v.A != want+1 {
			t.Errorf("value %d: %+v, %v", want+1, v, err)
		}
	}
	if err := s.Next(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := NewStream(endless{}, 1<<16).Next(new(any)); !errors.Is(err, ErrTooLong) {
		t.Errorf("an endless line: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		for question := make([]byte, 1); ; {
			if _, err := far.Read(question); err != nil {
				return
			}
			_, _ = far.Write(make([]byte, 10*int(question[0])))
		}
	}()
	c := Answers(near, 100)
	for range 20 { // each for itself
		if _, err := c.Write([]byte{8}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 80)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = c.Write([]byte{20})
	for range 2 {
		if _, err := io.ReadFull(c, make([]byte, 200)); !errors.Is(err, ErrTooLong) {
			t.Errorf("a long answer: %v", err)
		}
		go func() { _, _ = c.Write([]byte{1}) }() // does not have the rest pass for another
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"10.1.2.3":             "10.1.2.3/32",
		"::ffff:10.1.2.3":      "10.1.2.3/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := Prefix(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if Prefix(netip.Addr{}).IsValid() {
		t.Error("no address has a prefix")
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRate[string](time.Minute, 3, 100)
		allowed := 0
		for range 1000 {
			if r.Allow("a") {
				allowed++
			}
		}
		if allowed != 3 || !r.Allow("b") {
			t.Errorf("%d times, want 3, and others go free", allowed)
		}
		begun := time.Now()
		if err := r.Wait(t.Context(), "a"); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("waited %s: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r.Wait(ctx, "a") == nil {
			t.Error("waited longer than the context lasts")
		}
		for i := range 1000 {
			r.Allow(fmt.Sprint(i))
		}
		if r.Len() != 100 {
			t.Errorf("%d are remembered, want 100", r.Len())
		}
	})
}

func TestRate_Delay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := NewRate[string](time.Minute, 3, 2)
	r.Now = func() time.Time { return now }
	delay := func(who string, want time.Duration) {
		t.Helper()
		if got := r.Delay(who); got.Round(time.Millisecond) != want {
			t.Errorf("%s has to wait for %s, want %s", who, got, want)
		}
	}
	delay("a", 0)
	if r.Len() != 0 {
		t.Error("who only asks is remembered")
	}
	for range 1000 { // those that are refused do not make it wait longer
		r.Allow("a")
	}
	delay("a", time.Minute)
	now = now.Add(time.Minute - time.Second)
	delay("a", time.Second)
	now = now.Add(time.Second)
	delay("a", 0)
	if !r.Allow("a") || r.Allow("a") {
		t.Error("after one pause, want one more")
	}
	r.Forget("a")
	delay("a", 0)
	now = now.Add(time.Hour) // is not worth more than the burst
	for range 4 {
		r.Allow("a")
	}
	delay("a", time.Minute)
	r.Allow("b")
	delay("a", time.Minute) // asked for again: no longer the one that was quiet for longest
	r.Allow("c")
	delay("a", time.Minute)
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces[string](2)
		var in, most int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				leave, err := p.Enter(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				mu.Lock()
				in++
				most = max(most, in)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				in--
				mu.Unlock()
			})
		}
		synctest.Wait()
		if leave, err := p.Enter(t.Context(), "b"); err != nil {
			t.Error(err)
		} else {
			leave()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := p.Enter(ctx, "a"); err == nil {
			t.Error("more got in than may")
		}
		wg.Wait()
		if most != 2 || p.Len() != 0 {
			t.Errorf("%d at a time, want 2; %d are remembered, want none", most, p.Len())
		}
	})
}
