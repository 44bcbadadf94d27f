package testenv

import "testing"

func TestSeed(t *testing.T) {
	if Seed(t) == Seed(t) {
		t.Error("two seeds are the same")
	}
	t.Setenv(SeedVariable, "42")
	if got := Seed(t); got != 42 {
		t.Errorf("got %d", got)
	}
}
