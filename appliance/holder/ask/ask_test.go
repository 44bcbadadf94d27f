package ask

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var someID = strings.Repeat("0f", 32)

// node answers a client's questions with lines.
func node(t *testing.T, answer func(Question) string) *Client {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		for lines := bufio.NewScanner(far); lines.Scan(); {
			var q Question
			if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
				t.Error(err)
			}
			if _, err := io.WriteString(far, answer(q)); err != nil {
				return
			}
		}
	}()
	c := New(near)
	t.Cleanup(func() { c.Close() })
	return c
}

// TestClient_Answers has a node give each kind of answer, and those that are none.
func TestClient_Answers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		found  bool
		err    error
	}{
		"a container": {`{"number":1,"holder":{"id":"` + someID + `","started":7,"name":"c"}}`, true, nil},
		"none":        {`{"number":1}`, false, nil},
		"a problem":   {`{"number":1,"problem":"busy"}`, false, ErrUnknown},
		"another's":   {`{"number":2}`, false, context.DeadlineExceeded},
		"nonsense":    {`nonsense`, false, ErrGone},
		"too long":    {strings.Repeat("x", MaxLine+1), false, ErrGone},
	} {
		client := node(t, func(Question) string { return c.answer + "\n" })
		limit := 10 * time.Second
		if errors.Is(c.err, context.DeadlineExceeded) {
			limit = 10 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		h, found, err := client.Who(ctx, netip.AddrPort{}, netip.AddrPort{}, time.Now())
		cancel()
		if found != c.found || !errors.Is(err, c.err) || found && (h.ID != someID || h.Started != 7 || h.Name != "c") {
			t.Errorf("%s: %+v, %v, %v", name, h, found, err)
		}
	}
}

// TestClient_Asks has the node hear what is asked.
func TestClient_Asks(t *testing.T) {
	t.Parallel()
	local, remote := netip.MustParseAddrPort("127.0.0.1:7891"), netip.MustParseAddrPort("[::1]:9")
	now, err := sinceBoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client := node(t, func(q Question) string {
		switch {
		case q.Who != nil && (q.Who.Local != local || q.Who.Remote != remote || q.Who.Since < now-2*time.Minute ||
			q.Who.Since > now-time.Minute/2):
			t.Errorf("%s after boot it is asked for %+v", now, *q.Who)
		case q.Ended != nil:
			return `{"ended":{"id":"` + q.Ended.ID + `","started":7},"ending":{"known":true,"code":3}}` + "\n"
		}
		return `{"number":1}` + "\n"
	})
	if _, _, err := client.Who(t.Context(), local, remote, time.Now().Add(-time.Minute)); err != nil {
		t.Error(err)
	}
	if e, err := client.Ended(t.Context(), Run{someID, 7}); err != nil || e != (Ending{Known: true, Code: 3}) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestEnding_Done(t *testing.T) {
	t.Parallel()
	for e, want := range map[Ending]bool{
		{Known: true}:                    true,
		{Known: true, OutOfMemory: true}: true, // of a process beside its own
		{Known: true, Code: 1}:           false,
		{Known: true, Stopped: true}:     false,
		{}:                               false,
	} {
		if e.Done() != want {
			t.Errorf("%+v: %v", e, !want)
		}
	}
}
