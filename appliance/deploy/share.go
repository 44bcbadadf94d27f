package deploy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Share is the part of a service's replicas that is replaced at once: so many
// percent, a number, or all. The zero Share is one replica.
type Share struct {
	percent int
	count   int
	all     bool
}

// DefaultShare is replaced at once unless the user says otherwise, so that
// three quarters of the replicas go on crawling.
var DefaultShare = Share{percent: 25}

// ParseShare reads "25%", "5" or "all".
func ParseShare(s string) (Share, error) {
	if s == "all" {
		return Share{all: true}, nil
	}
	digits, isPercent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	switch {
	// Not even 0, which means all of them to Swarm and none to a reader.
	case err != nil || n == 0 || isPercent && n > 100:
		return Share{}, fmt.Errorf("invalid share %q: use a percentage (1%% to 100%%), a count (1 or more) or \"all\"",
			s)
	case isPercent:
		return Share{percent: int(n)}, nil
	}
	return Share{count: int(n)}, nil
}

// Of returns how many of so many replicas that is, at least one, in Swarm's terms: 0
// is all at once. A percentage is rounded up.
func (s Share) Of(replicas int) uint64 {
	switch {
	case s.all:
		return 0
	case s.percent > 0:
		return uint64(max(1, (replicas*s.percent+99)/100))
	}
	return uint64(max(1, s.count))
}

// Least returns how many of n are enough: all of them, or the share.
func (s Share) Least(n int) int {
	if s.all {
		return n
	}
	return min(n, int(s.Of(n)))
}

// String writes the share as ParseShare reads it.
func (s Share) String() string {
	switch {
	case s.all:
		return "all"
	case s.percent > 0:
		return strconv.Itoa(s.percent) + "%"
	}
	return strconv.Itoa(max(1, s.count))
}

// ShareOf returns the share of which Swarm speaks as so many at a time; 0 is all.
func ShareOf(parallelism uint64) Share {
	if parallelism == 0 {
		return Share{all: true}
	}
	return Share{count: int(min(parallelism, math.MaxInt32))}
}
