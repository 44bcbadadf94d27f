package runs

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpec_Check(t *testing.T) {
	t.Parallel()
	good, long := Spec{ID: "spider-1", Replicas: 1}, strings.Repeat("x", maxParameters)
	for want, change := range map[string]func(*Spec){
		"":                        func(*Spec) {},
		"cannot name a service":   func(s *Spec) { s.ID = "a b" },
		"replicas is 0":           func(s *Spec) { s.Replicas = 0 },
		"retries is 5":            func(s *Spec) { s.Retries = 5 },
		"retries is -1":           func(s *Spec) { s.Retries = -1 },
		"timeout is 1ms":          func(s *Spec) { s.Timeout = time.Millisecond },
		"timeout is 800h":         func(s *Spec) { s.Timeout = 800 * time.Hour },
		`argument "a b"`:          func(s *Spec) { s.Args = map[string]string{"a b": ""} },
		`argument "1"`:            func(s *Spec) { s.Args = map[string]string{"1": ""} },
		"bytes together":          func(s *Spec) { s.Args = map[string]string{"a": long} },
		"the command have 8200 b": func(s *Spec) { s.Command = []string{long + "12345678"} },
	} {
		s := good
		change(&s)
		err := s.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+.100v: got %v, want %q", s, err, want)
		}
	}
}

func TestSpec_Label(t *testing.T) {
	t.Parallel()
	s := Spec{ID: "a", Service: "b", By: "c", At: time.Unix(1e9, 5).UTC(), Args: map[string]string{"k": "v"},
		Replicas: 2, Command: []string{"x", ""}, Timeout: time.Hour}
	label, err := s.Label()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(label); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", "[]"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is a label", bad)
		}
	}
	if stop, err := ParseStop(""); stop != nil || err != nil {
		t.Errorf("got %v, %v of none", stop, err)
	}
}

// TestIDs: all are names of services, and a planned one is the same for whoever plans it.
func TestIDs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.FixedZone("", 3600))
	if id := PlannedID("nightly", at); id != "nightly-20260301-020000" {
		t.Errorf("got %s", id)
	}
	for _, service := range []string{"spider", strings.Repeat("a", 63), "a_"} {
		a, b := NewID(service, at), PlannedID(service, at)
		if (Spec{ID: a, Replicas: 1}).Check() != nil || (Spec{ID: b, Replicas: 1}).Check() != nil {
			t.Errorf("of %s: %s, %s", service, a, b)
		}
	}
	for image, want := range map[string]string{
		"localhost:8003/spider:0.02": "spider", "python": "python", "a.b/c.d_e:x@sha256:12": "c-d_e", "...": "run",
	} {
		if got := NameOf(image); got != want {
			t.Errorf("%s: got %q, want %q", image, got, want)
		}
	}
}

func TestWithArgs(t *testing.T) {
	t.Parallel()
	args := map[string]string{"site": "it's", "pages": "10"}
	for _, c := range []struct{ entry, command, want string }{
		{"", "scrapy|crawl|quotes", "scrapy|crawl|quotes|-a|pages=10|-a|site=it's"},
		{"scrapy", "crawl|quotes", "crawl|quotes|-a|pages=10|-a|site=it's"},
		{"", "/usr/bin/scrapy|runspider|a.py", "/usr/bin/scrapy|runspider|a.py|-a|pages=10|-a|site=it's"},
		{"", "python3|-m|scrapy|crawl|q", "python3|-m|scrapy|crawl|q|-a|pages=10|-a|site=it's"},
		{"", "python3|spider.py", "python3|spider.py|--pages=10|--site=it's"},
		{"/app", "", "--pages=10|--site=it's"},
		{"", "/bin/sh|-c|exec scrapy crawl q", `/bin/sh|-c|exec scrapy crawl q '-a' 'pages=10' '-a' 'site=it'\''s'`},
		{"/bin/sh|-c", "node spider.js", `node spider.js '--pages=10' '--site=it'\''s'`},
	} {
		got := strings.Join(WithArgs(split(c.entry), split(c.command), args), "|")
		if got != c.want {
			t.Errorf("%s + %s: got %s, want %s", c.entry, c.command, got, c.want)
		}
	}
	if got := WithArgs(nil, []string{"x"}, nil); !slices.Equal(got, []string{"x"}) {
		t.Errorf("without: %q", got)
	}
	env := Variables(map[string]string{"a-b.c": "1"})
	if !maps.Equal(env, map[string]string{"CRAWLBOX_ARG_A_B_C": "1"}) {
		t.Errorf("the variables are %v", env)
	}
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "|")
}
