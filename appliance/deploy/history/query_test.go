package history

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// entriesOf reads entries such as "a:done b:failed", with versions from 1; the
// letter is the digest.
func entriesOf(s string) (entries []Entry) {
	for i, word := range strings.Fields(s) {
		digest, result, _ := strings.Cut(word, ":")
		entries = append(entries, Entry{Version: i + 1, Digest: digest, Result: Result(result)})
	}
	return entries
}

// storeOf returns a store that holds what is given and has no disk.
func storeOf(entries string) *Store {
	return &Store{entries: map[string][]Entry{"spider": entriesOf(entries)}}
}

func versions(entries []Entry) string {
	all := []string{}
	for _, e := range entries {
		all = append(all, fmt.Sprint(e.Version))
	}
	return strings.Join(all, " ")
}

func TestKept(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entries string
		n       int
		want    string
	}{
		"none":                        {"", 3, ""},
		"fewer":                       {"a:done b:done", 3, "2 1"},
		"the newest":                  {"a:done b:done c:done", 2, "3 2"},
		"failed ones do not count":    {"a:done b:done c:failed d:rolled-back e:interrupted", 2, "2 1"},
		"one image twice":             {"a:done b:done a:done", 2, "3 2"},
		"one under way comes on top":  {"a:done b:done c:running", 1, "3 2"},
		"going back":                  {"a:done b:done a:running", 1, "3 2"},
		"stuck ones":                  {"a:running b:done c:done", 1, "3 1"},
		"at least one":                {"a:done b:done", 0, "2"},
		"no image, such as a scaling": {"a:done :done", 1, "1"},
	} {
		if got := versions(storeOf(tc.entries).Kept("spider", tc.n)); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestKept_ImageBeforeItsDigestIsKnown(t *testing.T) {
	t.Parallel()
	got := kept([]Entry{
		{Version: 1, Image: "spider:0.01", Result: Running},
		{Version: 2, Image: "spider:0.02", Result: Running},
	}, 1)
	if versions(got) != "2 1" {
		t.Errorf("got %v", got)
	}
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	s := &Store{entries: map[string][]Entry{
		"ended": entriesOf("a:done b:failed"),
		"new":   entriesOf("a:running"),
		"again": entriesOf("a:running b:running c:done"),
	}}
	got := map[string]int{}
	for service, e := range s.Unfinished() {
		got[service] = e.Version
	}
	if !reflect.DeepEqual(got, map[string]int{"new": 1, "again": 2}) {
		t.Errorf("got %v", got)
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	fails := strings.Repeat("x:failed ", maxEntries-1)
	for name, tc := range map[string]struct {
		entries       string
		first, second int // versions that are left
	}{
		"not full":                {"a:done " + fails, 1, 2},
		"the oldest goes":         {"a:failed " + fails + "b:done", 2, 3},
		"not the last good ones":  {"a:done b:done " + fails + fails, 1, 2},
		"others of the good ones": {"a:done b:done c:done " + fails + fails, 2, 3},
		"all under way":           {strings.Repeat("r:running ", 3*maxEntries), 2*maxEntries + 1, 2*maxEntries + 2},
	} {
		got := trim(entriesOf(tc.entries), maxEntries)
		if len(got) != maxEntries || got[0].Version != tc.first || got[1].Version != tc.second {
			t.Errorf("%s: %s", name, versions(got))
		}
	}
}

func TestPrevious(t *testing.T) {
	t.Parallel()
	done := func(version, from int) Entry {
		return Entry{Version: version, From: from, Result: Done}
	}
	bad := func(version int) Entry { return Entry{Version: version, Result: RolledBack} }
	for name, tc := range map[string]struct {
		newestFirst []Entry
		want        int // version; 0: none
	}{
		"nothing":                   {nil, 0},
		"the first":                 {[]Entry{done(1, 0)}, 0},
		"the one before":            {[]Entry{done(2, 0), done(1, 0)}, 1},
		"not a bad one":             {[]Entry{bad(4), done(3, 0), bad(2), done(1, 0)}, 1},
		"again: none before that":   {[]Entry{done(3, 1), done(2, 0), done(1, 0)}, 0},
		"again: further back":       {[]Entry{done(4, 2), done(3, 0), done(2, 0), done(1, 0)}, 1},
		"and a third time":          {[]Entry{done(5, 2), done(4, 3), done(3, 0), done(2, 0), done(1, 0)}, 1},
		"after a better one":        {[]Entry{done(4, 0), done(3, 1), done(2, 0), done(1, 0)}, 3},
		"not what it was all along": {[]Entry{done(2, 1), done(1, 0)}, 0},
	} {
		slices.Reverse(tc.newestFirst)
		s := &Store{entries: map[string][]Entry{"spider": tc.newestFirst}}
		if got, ok := s.Previous("spider"); got.Version != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: got %d, %v", name, got.Version, ok)
		}
	}
}
