package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// MaxContext is how many bytes a build context may have unless Options say
// otherwise. Code is far smaller; more is data that was forgotten there.
const MaxContext int64 = 512 << 20

// Check returns an error if the context is larger than it may be. Tar does so
// too, before it writes anything.
func (s *Source) Check() error {
	found, err := s.list()
	if err != nil {
		return err
	}
	return s.check(found)
}

func (s *Source) check(found []entry) error {
	files, bytes := sum(found)
	if bytes <= s.limit {
		return nil
	}
	if s.Kind == Binary {
		return fmt.Errorf("%s has %s, more than the %s that may be sent to Docker; strip it, or allow more with "+
			"--max-context", s.file, size(bytes), size(s.limit))
	}
	return fmt.Errorf("%s has %s in %d files, more than the %s that may be sent to Docker; most is in %s: list what "+
		"the image does not need in %s, or allow more with --max-context",
		s.Dir, size(bytes), files, size(s.limit), strings.Join(largest(found, bytes), " and "), s.ignoreFile)
}

func sum(found []entry) (files int, bytes int64) {
	for _, e := range found {
		if !e.mode.IsDir() {
			files++
		}
		bytes += e.size
	}
	return files, bytes
}

// largest names the two top entries with the most bytes; the second only if it has
// a tenth of all.
func largest(found []entry, all int64) (out []string) {
	bytes := map[string]int64{}
	var tops []string
	for _, e := range found {
		top, _, _ := strings.Cut(e.name, "/")
		if _, seen := bytes[top]; !seen {
			tops = append(tops, top)
		}
		bytes[top] += e.size
	}
	slices.SortStableFunc(tops, func(a, b string) int { return cmp.Compare(bytes[b], bytes[a]) })
	for i, top := range tops[:min(2, len(tops))] {
		if i == 0 || bytes[top] >= all/10 {
			out = append(out, fmt.Sprintf("%s (%s)", top, size(bytes[top])))
		}
	}
	return out
}

func size(bytes int64) string { return units.BytesSize(float64(bytes)) }
