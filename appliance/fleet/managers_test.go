package fleet

import (
	"strings"
	"testing"
)

func TestNextLoss(t *testing.T) {
	t.Parallel()
	const nothing = "no change is possible"
	for _, tc := range []struct {
		all, up, workers, spare int
		says                    string
	}{
		{0, 0, 3, -1, ""},
		{1, 1, 3, 0, "1 manager: if it is lost, `crawlbox install manager --restore`"},
		{1, 1, 3, 0, "promote two more with `crawlbox node promote`"},
		{1, 1, 0, 0, "add two more with the line that `crawlbox token manager` prints"},
		{2, 2, 1, 0, nothing + ", so that two are worse than one; promote a third"},
		{2, 2, 0, 0, "add a third with the line"},
		{2, 1, 1, -1, "1 of 2 managers answer: nothing can be changed until 2 do"},
		{3, 3, 9, 1, "3 managers: 1 may fail"},
		{3, 2, 9, 0, "2 of 3 managers answer: if one more fails, " + nothing},
		{3, 1, 9, -1, "1 of 3 managers answer: nothing can be changed until 2 do"},
		{4, 4, 9, 1, "4 managers: 1 may fail, as of 3; promote one more"},
		{4, 3, 9, 0, "3 of 4 managers answer: if one more fails, " + nothing},
		{4, 2, 9, -1, "until 3 do"},
		{5, 5, 9, 2, "5 managers: 2 may fail"},
		{5, 4, 9, 1, "4 of 5 managers answer: 1 more may fail"},
		{5, 3, 9, 0, "3 of 5 managers answer: if one more fails, " + nothing},
		{5, 2, 9, -1, "until 3 do"},
		{6, 6, 0, 2, "6 managers: 2 may fail, as of 5; add one more"},
		{7, 7, 0, 3, "7 managers: 3 may fail"},
	} {
		m := Managers{All: tc.all, Up: tc.up, Workers: tc.workers}
		got := m.NextLoss()
		if !strings.Contains(got, tc.says) || (got == "") != (tc.says == "") || m.Spare() != tc.spare {
			t.Errorf("%+v: spare %d, %q, want %d, %q", m, m.Spare(), got, tc.spare, tc.says)
		}
	}
}

// TestLoss_State counts on no manager that does not have the cluster's state yet.
func TestLoss_State(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		all, up, state, stateUp, spare int
		says                           string
	}{
		{3, 3, 1, 1, 0, "only 1 has the cluster's state so far, and if that fails"},
		{3, 3, 2, 2, 0, "only 2 have the cluster's state so far, and if more than 0 of those fail"},
		{3, 3, 3, 3, 1, "1 may fail"},
		{3, 2, 3, 2, 0, "if one more fails, no change is possible; bring"},
		{5, 5, 3, 3, 1, "only 3 have the cluster's state so far, and if more than 1 of those fail"},
		{5, 5, 5, 5, 2, "2 may fail"},
		{3, 3, 0, 0, 1, "1 may fail"}, // not known
		{2, 2, 1, 1, 0, "if either fails"},
	} {
		m := Managers{All: tc.all, Up: tc.up, State: tc.state, StateUp: tc.stateUp}
		if got := m.Loss(); m.Spare() != tc.spare || !strings.Contains(got, tc.says) {
			t.Errorf("%+v: spare %d, %q, want %d, %q", m, m.Spare(), got, tc.spare, tc.says)
		}
	}
}

func TestCountManagers(t *testing.T) {
	t.Parallel()
	nodes := []Node{
		{Role: RoleManager, State: StateReady, HasState: true},
		{Role: RoleManager, State: "unreachable", HasState: true},
		{Role: RoleWorker, State: StateReady},
		{Role: RoleWorker, State: StateDown},
	}
	if got := CountManagers(nodes); got != (Managers{All: 2, Up: 1, Workers: 2, State: 2, StateUp: 1}) {
		t.Errorf("got %+v", got)
	}
}
