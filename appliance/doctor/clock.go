package doctor

import (
	"fmt"
	"time"
)

const (
	// maxSkew is how far clocks may differ without being worth a word.
	maxSkew = 2 * time.Second
	// badSkew is half of what the certificates of nodes bear.
	badSkew = 30 * time.Minute
)

// Skew is how far the clock of another node is ahead of this machine's.
type Skew struct {
	Node string
	By   time.Duration
}

// Clock compares this machine's clock with those of others.
func (s System) Clock(skews []Skew) (list []Finding) {
	const remedy = "let the clock be set by others, on both machines"
	commands := []string{"timedatectl set-ntp true"}
	for _, k := range skews {
		level := Warn
		switch off := k.By.Abs(); {
		case off <= maxSkew:
			continue
		case off > badSkew:
			level = Bad
		}
		how := "behind"
		if k.By < 0 {
			how = "ahead of"
		}
		found := wrong("clock", level,
			fmt.Sprintf("this machine's clock is %s %s that of %s", k.By.Abs().Round(time.Second), how, k.Node), remedy,
			commands...)
		found.Skew = k.By.Abs()
		list = append(list, found)
	}
	if synced, err := s.Synchronized(); err == nil && !synced && len(skews) == 0 {
		list = append(list, wrong("clock", Warn, "nothing sets this machine's clock, by what the kernel knows",
			"let it be set by others", commands...))
	}
	text := "others set it, or nobody can tell"
	if len(skews) > 0 {
		text = fmt.Sprintf("it agrees with %s", skews[0].Node)
	}
	if len(skews) > 1 {
		text = fmt.Sprintf("it agrees with those of %d nodes", len(skews))
	}
	return orGood(list, "clock", text)
}
