package testenv

import "testing"

func TestSeed(t *testing.T) {
	if first := Seed(t); first == Seed(t) {
		t.Error("two seeds are the same")
	}
	t.Setenv(SeedVariable, "42")
	if got := Seed(t); got != 42 {
		t.Errorf("got %d", got)
	}
}
