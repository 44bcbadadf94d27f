package lease_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

var testRules = lease.Rules{Safe: []string{"jobs:*", "s", "z"}, Window: 16, MaxDeliveries: 5}

// TestRewrite: what a command becomes.
func TestRewrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    string
		multi   bool
		want    string // pop, count, shape and which keys are leased; "": unchanged
		nothing string // in RESP2, and in RESP3
		blocks  time.Duration
		single  bool
	}{
		{"LPOP jobs:a", false, "LPOP 1 i 1", "$-1 _", -1, true},
		{"lpop jobs:a 3", false, "LPOP 3 a 1", "*-1 _", -1, false},
		{"LPOP jobs:a 0", false, "", "", 0, false},
		{"LPOP jobs:a -1", false, "", "", 0, false},
		{"LPOP jobs:a x", false, "", "", 0, false},
		{"LPOP jobs:a 1 2", false, "", "", 0, false},
		{"LPOP", false, "", "", 0, false},
		{"LPOP other", false, "", "", 0, false},
		{"LPOP jobs:a:dead", false, "", "", 0, false},
		{"RPOP jobs:a", true, "RPOP 1 i 1", "$-1 _", -1, false},
		{"SPOP s", false, "SPOP 1 i 1", "$-1 _", -1, true},
		{"SPOP s 2", false, "SPOP 2 s 1", "*0 ~0", -1, false},
		{"ZPOPMIN z", false, "ZPOPMIN 1 a 1", "*0 *0", -1, true},
		{"ZPOPMAX z 2", false, "ZPOPMAX 2 a|p 1", "*0 *0", -1, false},
		{"BLPOP jobs:a 0", false, "LPOP 1 k 1", "*-1 _", 0, false},
		{"BRPOP other jobs:a jobs:b other 1.5", false, "RPOP 1 k 011", "*-1 _", 1500 * time.Millisecond, false},
		{"BLPOP other also 1", false, "", "", 0, false},
		{"BLPOP jobs:a -1", false, "", "", 0, false},
		{"BLPOP jobs:a x", false, "", "", 0, false},
		{"BLPOP jobs:a", false, "", "", 0, false},
		{"BLPOP jobs:a 5", true, "LPOP 1 k 1", "*-1 _", -1, false},
		{"BZPOPMIN z 2", false, "ZPOPMIN 1 k 1", "*-1 _", 2 * time.Second, false},
		{"LMPOP 2 other jobs:a LEFT", false, "LPOP 1 m 01", "*-1 _", -1, false},
		{"LMPOP 2 other jobs:a right COUNT 7", false, "RPOP 7 m 01", "*-1 _", -1, false},
		{"LMPOP 3 other jobs:a LEFT", false, "", "", 0, false},
		{"LMPOP 1 jobs:a MIN", false, "", "", 0, false},
		{"LMPOP 1 jobs:a LEFT COUNT 0", false, "", "", 0, false},
		{"LMPOP 0 LEFT", false, "", "", 0, false},
		{"ZMPOP 1 z MAX COUNT 2", false, "ZPOPMAX 2 m 1", "*-1 _", -1, false},
		{"BLMPOP 1 1 jobs:a LEFT COUNT 2", false, "LPOP 2 m 1", "*-1 _", time.Second, false},
		{"BZMPOP 0 1 z MIN", false, "ZPOPMIN 1 m 1", "*-1 _", 0, false},
		{"ZREMRANGEBYRANK z 0 0", true, "ZPOPMIN 1 n 1", ":0 :0", -1, false},
		{"ZREMRANGEBYRANK z -3 -1", true, "ZPOPMAX 3 n 1", ":0 :0", -1, false},
		{"ZREMRANGEBYRANK z 0 0", false, "", "", 0, false},
		{"ZREMRANGEBYRANK z 0 -1", true, "", "", 0, false},
		{"ZREMRANGEBYRANK z 1 2", true, "", "", 0, false},
		{"LTRIM jobs:a 16 -1", true, "LPOP 16 o 1", "+OK +OK", -1, false},
		{"LTRIM jobs:a 16 -1", false, "", "", 0, false},
		{"LTRIM jobs:a 0 -1", true, "", "", 0, false},
		{"LTRIM jobs:a 0 99", true, "", "", 0, false},
		{"RPOPLPUSH jobs:a jobs:b", false, "", "", 0, false},
		{"LMOVE jobs:a jobs:b LEFT LEFT", false, "", "", 0, false},
		{"BLMOVE jobs:a jobs:b LEFT LEFT 1", false, "", "", 0, false},
		{"LRANGE jobs:a 0 -1", false, "", "", 0, false},
		{"LPOP crawlbox:held:x", false, "", "", 0, false},
	} {
		for i, v3 := range []bool{false, true} {
			rules := testRules
			rules.Safe = append(slices.Clone(rules.Safe), "crawlbox*")
			me := lease.NewHolder("me", "c1", lease.About{})
			p := rules.Rewrite(strings.Fields(c.args), c.multi, v3, me, time.Now())
			if (p == nil) != (c.want == "") {
				t.Fatalf("%s becomes %+v, want %q", c.args, p, c.want)
			}
			if p == nil {
				continue
			}
			a := p.Args[len(p.Args)-6:]
			shape, leased, _ := strings.Cut(a[4], map[bool]string{false: "-", true: "x"}[c.multi])
			version := string('2' + byte(i))
			got := strings.Join([]string{a[1], a[2], strings.TrimSuffix(shape, version), leased}, " ")
			if got != forVersion(c.want, i) {
				t.Errorf("%s in RESP%s becomes %q, want %q", c.args, version, got, c.want)
			}
			if want := strings.Fields(c.nothing)[i] + "\r\n"; p.Nothing != want {
				t.Errorf("%s finds nothing: %q, want %q", c.args, p.Nothing, want)
			}
			if p.Blocks != (c.blocks >= 0) || p.Blocks && p.Timeout != c.blocks {
				t.Errorf("%s blocks: %t, for %v, want %v", c.args, p.Blocks, p.Timeout, c.blocks)
			}
			if p.Single != c.single {
				t.Errorf("%s is single: %t", c.args, p.Single)
			}
			if text := p.Args[1] == script.Take.Text && p.Args[0] == "EVAL"; text != c.multi {
				t.Errorf("%s in a transaction: %t, becomes %.60q", c.args, c.multi, p.Args)
			}
			if want := fmt.Sprint(3 + len(p.Keys)); p.Args[2] != want || len(p.Args) != 3+3+len(p.Keys)+6 {
				t.Errorf("%s has %s keys: %q", c.args, p.Args[2], p.Args)
			}
		}
	}
}

// forVersion picks of a|b the first in version 2 of the protocol, the second in 3.
func forVersion(want string, i int) string {
	words := strings.Fields(want)
	for n, word := range words {
		if both := strings.Split(word, "|"); len(both) == 2 {
			words[n] = both[i]
		}
	}
	return strings.Join(words, " ")
}

// TestRewrite_Linger: with linger, pops that do not block wait for what others hold.
func TestRewrite_Linger(t *testing.T) {
	t.Parallel()
	rules := testRules
	rules.Linger = true
	for args, want := range map[string]time.Duration{
		"LPOP jobs:a": 5 * time.Second, "BLPOP jobs:a 9": 0, "ZMPOP 1 z MIN": 5 * time.Second,
	} {
		me := lease.NewHolder("me", "c1", lease.About{})
		if p := rules.Rewrite(strings.Fields(args), false, false, me, time.Now()); p.Linger != want {
			t.Errorf("%s waits %v, want %v", args, p.Linger, want)
		}
		if p := rules.Rewrite(strings.Fields(args), true, false, me, time.Now()); p.Linger != 0 {
			t.Errorf("%s waits %v in a transaction", args, p.Linger)
		}
	}
}

// TestRules: what cannot be kept is refused, and says why.
func TestRules(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*lease.Rules){
		"":                                     func(*lease.Rules) {},
		"invalid window 0":                     func(r *lease.Rules) { r.Window = 0 },
		"invalid window 1001":                  func(r *lease.Rules) { r.Window = 1001 },
		"invalid max_deliveries 0":             func(r *lease.Rules) { r.MaxDeliveries = 0 },
		`invalid pattern ""`:                   func(r *lease.Rules) { r.Safe = []string{""} },
		"matches the lists of the leases":      func(r *lease.Rules) { r.Safe = []string{"crawlbox:held:*"} },
		"matches lists of dead items":          func(r *lease.Rules) { r.Safe = []string{"*", "jobs:dead"} },
		"101 patterns in safe, more than 100:": func(r *lease.Rules) { r.Safe = make([]string, 101) },
	} {
		rules := testRules
		change(&rules)
		err := rules.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", rules, err, want)
		}
	}
}
