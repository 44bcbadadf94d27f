package runs

import (
	"slices"
	"time"
)

// Compared is how many runs a run is compared with at the most.
const Compared = 7

// Usual is what runs did before a run: the median of each number.
type Usual struct {
	Runs int           `json:"runs"` // that it is of
	Took time.Duration `json:"took_ns"`
	Counts
}

// usual returns what the last runs before r did that ended well; nil: there are none. What failed is not what is usual,
// and neither is what was stopped.
func usual(r Record, lists ...[]Record) *Usual {
	var before []*Record // records are large
	for _, list := range lists {
		for i := range list {
			if is := &list[i]; is.State == Done && is.ID != r.ID && is.At.Before(r.At) {
				before = append(before, is)
			}
		}
	}
	slices.SortFunc(before, func(a, b *Record) int { return b.At.Compare(a.At) })
	before = before[:min(len(before), Compared)]
	if len(before) == 0 {
		return nil
	}
	took := median(before, func(is *Record) *int64 { return new(int64(is.Took())) })
	return &Usual{len(before), time.Duration(*took), Counts{
		Items:  median(before, func(is *Record) *int64 { return is.Items }),
		Pages:  median(before, func(is *Record) *int64 { return is.Pages }),
		Errors: median(before, func(is *Record) *int64 { return is.Errors }),
	}}
}

// median returns that of the numbers which are there, the mean of two where there are two in the middle; nil: none is.
func median(list []*Record, number func(*Record) *int64) *int64 {
	var all []int64
	for _, is := range list {
		if n := number(is); n != nil {
			all = append(all, *n)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	a, b := all[(len(all)-1)/2], all[len(all)/2]
	return new(a + (b-a)/2)
}
