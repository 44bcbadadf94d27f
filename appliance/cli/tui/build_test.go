package tui

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/image"
)

// aBuild is a build of two steps at once, of which one fails.
var aBuild = []image.Step{
	{N: 1, Name: "[1/3] FROM x", State: image.StepDone},
	{N: 1, Name: "[1/3] FROM x", State: image.StepRunning, Current: 5e6, Total: 40e6},
	{N: 1, Name: "[1/3] FROM x", State: image.StepDone, Took: 1200 * time.Millisecond},
	{N: 1, Name: "[1/3] FROM x", State: image.StepCached}, // once more
	{N: 2, Name: "[2/3] COPY requirements.txt ./", State: image.StepCached},
	{N: 3, Name: "[3/3] RUN pip install --no-cache-dir -r requirements.txt", State: image.StepRunning},
	{N: 4, Name: "[build 2/2] RUN make", State: image.StepRunning},
	{
		N:     3,
		Name:  "[3/3] RUN pip install --no-cache-dir -r requirements.txt",
		State: image.StepRunning,
		Line:  "Collecting redis",
	},
	{
		N:     3,
		Name:  "[3/3] RUN pip install --no-cache-dir -r requirements.txt",
		State: image.StepRunning,
		Line:  "no such package",
	},
	{
		N:     3,
		Name:  "[3/3] RUN pip install --no-cache-dir -r requirements.txt",
		State: image.StepFailed,
		Took:  2 * time.Second,
	},
	{N: 4, Name: "[build 2/2] RUN make", State: image.StepCanceled},
}

func showBuild(t *testing.T, out Screen, events ...api.BuildEvent) {
	t.Helper()
	v := NewBuildView(out)
	end := v.Start()
	for _, e := range events {
		if err := v.See(e); err != nil {
			t.Error(err)
		}
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
	}
	end()
}

func stepEvents() (events []api.BuildEvent) {
	for i := range aBuild {
		events = append(events, api.BuildEvent{Step: &aBuild[i]})
	}
	return events
}

// left returns what a terminal shows in the end, when what was painted is gone.
func left(text string) []string {
	lines := clitest.Display(text)
	return lines[:len(lines)-1] // the last is the empty one with the cursor
}

func TestBuildView_InAPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		push := api.BuildEvent{Push: &image.PushProgress{Layers: 2, Done: 1}}
		showBuild(t, Screen{W: &out, Now: time.Now},
			append(stepEvents(), api.BuildEvent{Line: "Step 1/1 : FROM x"}, push)...)
		clitest.Golden(t, "testdata/build.pipe.golden", out.String())
	})
}

func TestBuildView_OnATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		showBuild(t, Screen{W: &out, Now: time.Now, Width: 50, height: 24}, stepEvents()...)
		want := []string{
			"  [1/3] FROM x  0.0s",
			"  [1/3] FROM x  1.2s",
			"  [2/3] COPY requirements.txt ./  cached",
			"  [3/3] RUN pip install --no-c…  failed after 2.0s",
			"    Collecting redis",
			"    no such package",
		}
		if got := left(out.String()); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the terminal shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, frame := range []string{
			"  [1/3] FROM x  5MB of 40MB  0.1s\n",
			"  [3/3] RUN pip install --no-cache-dir -r r…  0.5s\n    Collecting redis\n    no such package\n  [build " +
				"2/2] RUN make  0.3s\n",
		} {
			if !strings.Contains(out.String(), frame) {
				t.Errorf("never showed %q in %q", frame, out.String())
			}
		}
	})
}

// TestBuildView_FailedInFull wants what a step has written before it failed to stay uncut.
func TestBuildView_FailedInFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		line := "ERROR: no matching distribution of redis==99 was found for this Python"
		showBuild(t, Screen{W: &out, Now: time.Now, Width: 50, height: 24},
			api.BuildEvent{Step: &image.Step{N: 1, Name: "RUN it", State: image.StepRunning, Line: line}},
			api.BuildEvent{Step: &image.Step{N: 1, Name: "RUN it", State: image.StepFailed}})
		if got := clitest.Display(out.String()); len(got) != 2 || got[1] != "    "+line {
			t.Errorf("the terminal shows %q", got)
		}
	})
}

func TestBuildView_PushAndManyLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var events []api.BuildEvent
		for n := 1; n < 7; n++ {
			events = append(events, api.BuildEvent{Step: &image.Step{N: n, Name: "RUN it", State: image.StepRunning}})
		}
		events = append(events, api.BuildEvent{Push: &image.PushProgress{Layers: 4, Done: 1, Bytes: 1e6, Total: 3e6}})
		showBuild(t, Screen{W: &out, Now: time.Now, Width: 80, height: 24}, events...)
		for _, frame := range []string{
			"  and 2 steps more\n", "  push [======>             ] 1/4 layers, 1MB of 3MB  0.1s\n",
		} {
			if !strings.Contains(out.String(), frame) {
				t.Errorf("never showed %q in %q", frame, out.String())
			}
		}
		if got := left(out.String()); len(got) > 0 {
			t.Errorf("%q is left", got)
		}
	})
}

func TestBuildView_OutputGone(t *testing.T) {
	t.Parallel()
	if err := NewBuildView(Screen{W: broken{}, Now: time.Now}).See(api.BuildEvent{Line: "x"}); err == nil {
		t.Error("no error")
	}
}
