package fleet

import (
	"testing"
	"time"
)

func TestCrashLoop(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	task := func(slot int, state string, ago time.Duration) Task {
		return Task{
			ID:      state + ago.String(),
			Slot:    slot,
			State:   state,
			Desired: TaskShutdown,
			Since:   now.Add(-ago),
			Created: now.Add(-ago),
		}
	}
	runs := Task{Slot: 1, State: TaskRunning, Desired: TaskRunning, Since: now, Created: now}
	for name, tc := range map[string]struct {
		tasks    []Task
		failures int // 0: no loop
	}{
		"nothing":      {nil, 0},
		"failed twice": {[]Task{runs, task(1, TaskFailed, time.Minute), task(1, TaskFailed, 2*time.Minute)}, 0},
		"again, again": {
			[]Task{runs, task(1, TaskFailed,
				time.Minute), task(1, TaskRejected, 2*time.Minute), task(1, TaskFailed, 3*time.Minute)},
			3,
		},
		"long ago": {
			[]Task{runs, task(1, TaskFailed,
				time.Minute), task(1, TaskFailed, 2*time.Minute), task(1, TaskFailed, time.Hour)},
			0,
		},
		"once in each": {
			[]Task{task(1, TaskFailed, time.Minute), task(2, TaskFailed,
				time.Minute), task(3, TaskFailed, time.Minute)},
			0,
		},
		"failed, and done in the end": {
			[]Task{task(1, TaskComplete, time.Second), task(1, TaskFailed, time.Minute), task(1, TaskFailed,
				2*time.Minute), task(1, TaskFailed, 3*time.Minute)},
			0,
		},
		"done each time": {
			[]Task{task(1, TaskComplete, time.Minute), task(1, TaskComplete,
				2*time.Minute), task(1, TaskComplete, 3*time.Minute)},
			0,
		},
	} {
		l, found := CrashLoop(tc.tasks, now)
		if l.Failures != tc.failures || found != (tc.failures > 0) {
			t.Errorf("%s: got %+v, %v", name, l, found)
		}
		if found && (l.Last.Since != now.Add(-time.Minute) || l.Within != 3*time.Minute) {
			t.Errorf("%s: the last is %+v, within %s", name, l.Last, l.Within)
		}
	}
}

func TestTally_HowLongAFinishedServiceTook(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := func(slot int, after time.Duration) Task {
		return Task{
			ServiceID: "a",
			Slot:      slot,
			State:     TaskComplete,
			Desired:   TaskShutdown,
			Created:   begun,
			Since:     begun.Add(after),
		}
	}
	s := Snapshot{
		Services: []Service{{ID: "a", Mode: ModeReplicated, Desired: 2}},
		Tasks:    []Task{ended(1, time.Minute), ended(2, 3*time.Minute)},
	}
	if s.Tally(); s.Services[0].Took != 3*time.Minute {
		t.Errorf("got %+v", s.Services[0])
	}
	s.Tasks[1].State, s.Tasks[1].Desired = TaskRunning, TaskRunning
	if s.Tally(); s.Services[0].Took != 0 {
		t.Errorf("while one runs: got %+v", s.Services[0])
	}
}
