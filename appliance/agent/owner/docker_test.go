package owner

import (
	"errors"
	"testing"
)

// TestProof_Once: of a connection it is found out once who has it, also that it is not
// Docker; an error leaves that open.
func TestProof_Once(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{true, false} {
		p, asked := new(proof), 0
		if _, err := p.of(func() (bool, error) { asked++; return docker, errors.New("Docker is away") }); err == nil {
			t.Error("no error")
		}
		for range 100 {
			got, err := p.of(func() (bool, error) { asked++; return docker, nil })
			if got != docker || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	}
}
