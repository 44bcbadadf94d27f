package testenv_test

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestRaw(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"rpc error: code = InvalidArgument desc = no":                2,
		`strconv.ParseInt: parsing "abc": invalid syntax`:            2,
		"time: missing unit in duration":                             1,
		"x: yaml: line 3: found tab":                                 1,
		"json: cannot unmarshal string into map[string]interface {}": 3,
		"%!d(string=a)": 1,
		"services.json: must be a mapping, not \"strconv.\"": 0,
		"the time: 5s": 1,
		"no node takes tasks; see `crawlbox nodes`": 0,
	} {
		if got := testenv.Raw(text); len(got) != want {
			t.Errorf("%s: got %q", text, got)
		}
	}
	if got := testenv.RawIDs("node wp0c8nrbycd61vfyqsi0sk5vf and abc"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestDoubled(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"crawlbox: a: no image a:1; push it first; push it first": "push it first",
		"crawlbox: no image: no image":                            "",
		"crawlbox: one thing is wrong; do this, and do that":      "",
	} {
		if got := testenv.Doubled(line); got != want {
			t.Errorf("%s: got %q", line, got)
		}
	}
}
