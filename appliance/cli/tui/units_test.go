package tui

import (
	"fmt"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
)

func TestRoughly(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 750 * time.Second: "12m30s",
		185 * time.Minute: "3h5m", 52 * time.Hour: "2d4h",
	} {
		if got := Roughly(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestTook(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(Took(0), " ", Took(12340*time.Millisecond), " ", Took(72300*time.Millisecond))
	if got != "0.0s 12.3s 1m12s" {
		t.Errorf("got %s", got)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	s := Screen{Now: func() time.Time { return clitest.Now }}
	for want, at := range map[string]time.Time{
		"never":  {},
		"in 0s":  clitest.Now,
		"in 19h": clitest.Now.Add(19 * time.Hour),
		"2d ago": clitest.Now.Add(-48 * time.Hour),
	} {
		if got := s.Until(at); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSince_Never(t *testing.T) {
	t.Parallel()
	s := Screen{Now: func() time.Time { return clitest.Now }}
	if got := s.Since(time.Time{}); got != "-" {
		t.Errorf("never: got %s", got)
	}
}
