package runs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// manyRuns keeps the records of 10,000 runs of ten services, each with what a run of Scrapy leaves.
func manyRuns(b *testing.B) *state.Group {
	b.Helper()
	docs := newDocuments(b)
	size := 0
	for service := range 10 {
		var list []Record
		number := 1
		write := func() {
			err := docs.Update(document(fmt.Sprint("s", service), number), "seed", func([]byte) ([]byte, error) {
				data, err := json.Marshal(list)
				size += len(data)
				return data, err
			})
			if err != nil {
				b.Fatal(err)
			}
			number, list = number+1, nil
		}
		for n := range 1000 {
			r := ended(fmt.Sprintf("s%d-%d", service, n), n)
			r.Service, r.Began, r.Items = fmt.Sprint("s", service), r.At, new(int64(n))
			r.Log = NewExcerpt(slices.Repeat([]string{strings.Repeat("x", 110)}, maxFirst),
				slices.Repeat([]string{strings.Repeat("x", 50)}, maxLast))
			if list = append(list, r); len(list) == 10 { // as many as a document has
				write()
			}
		}
	}
	b.Logf("%d bytes", size)
	return docs
}

// BenchmarkStore measures the first list of 10,000 runs, which reads all records, the next ones, what a run is compared
// with, and whether 500 that go on have ended, as is asked every two seconds.
func BenchmarkStore(b *testing.B) {
	docs := manyRuns(b)
	list := func(s *Store) {
		if list, err := s.List(); err != nil || len(list) != 10_000 {
			b.Fatalf("%d runs, %v", len(list), err)
		}
	}
	b.Run("first list", func(b *testing.B) {
		for b.Loop() {
			list(NewStore(docs))
		}
	})
	s := NewStore(docs)
	list(s)
	b.Run("next list", func(b *testing.B) {
		for b.Loop() {
			list(s)
		}
	})
	b.Run("have 500 ended", func(b *testing.B) {
		for b.Loop() {
			for n := range 500 {
				if has, err := s.Has(fmt.Sprint("run-", n)); has || err != nil {
					b.Fatal(has, err)
				}
			}
		}
	})
	b.Run("usual", func(b *testing.B) {
		r := ended("s3-2000", 2000)
		r.Service = "s3"
		for b.Loop() {
			if is, err := s.Usual(r); err != nil || is.Runs != Compared {
				b.Fatal(is, err)
			}
		}
	})
}
