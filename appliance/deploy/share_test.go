package deploy

import (
	"strings"
	"testing"
)

func TestShare(t *testing.T) {
	t.Parallel()
	for share, of := range map[string]map[int]uint64{
		"25%":  {-1: 1, 0: 1, 1: 1, 4: 1, 5: 2, 20: 5, 50: 13},
		"1%":   {0: 1, 100: 1, 101: 2},
		"100%": {0: 1, 7: 7},
		"5":    {0: 5, 3: 5, 100: 5},
		"all":  {0: 0, 7: 0},
	} {
		s, err := ParseShare(share)
		if err != nil || s.String() != share {
			t.Errorf("%s: got %s, %v", share, s, err)
		}
		for replicas, want := range of {
			if got := s.Of(replicas); got != want {
				t.Errorf("%s of %d: got %d, want %d", share, replicas, got, want)
			}
		}
	}
}

// Of a share of nodes, such as a quorum, no more than there are can be enough.
func TestShare_Least(t *testing.T) {
	t.Parallel()
	for share, of := range map[string]map[int]int{
		"25%":  {0: 0, 1: 1, 4: 1, 5: 2, 50: 13},
		"100%": {0: 0, 1: 1, 7: 7},
		"5":    {0: 0, 3: 3, 5: 5, 100: 5},
		"all":  {0: 0, 7: 7},
	} {
		s, err := ParseShare(share)
		if err != nil {
			t.Fatal(err)
		}
		for n, want := range of {
			if got := s.Least(n); got != want {
				t.Errorf("%s of %d: got %d, want %d", share, n, got, want)
			}
		}
	}
}

func TestShare_Zero(t *testing.T) {
	t.Parallel()
	if s := (Share{}); s.Of(10) != 1 || s.String() != "1" {
		t.Errorf("got %d, %s", s.Of(10), s)
	}
}

func TestParseShare_Wrong(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "%", "0", "0%", "101%", "-1", "+5", "5 ", "2.5%", "half", "ALL", "all%", "4294967296",
	} {
		if _, err := ParseShare(s); err == nil ||
			!strings.Contains(err.Error(), `use a percentage (1% to 100%), a count (1 or more) or "all"`) {
			t.Errorf("%q: got %v", s, err)
		}
	}
}
