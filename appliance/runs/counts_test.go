package runs

import (
	"fmt"
	"strings"
	"testing"
)

const (
	way = "2026-01-01 00:01:00 [scrapy.extensions.logstats] INFO: Crawled 12 pages (at 12 pages/min), " +
		"scraped 5 items (at 5 items/min)"
	closing = `2026-01-01 00:02:00 [scrapy.statscollectors] INFO: Dumping Scrapy stats:
{'downloader/request_bytes': 231,
 'finish_time': datetime.datetime(2026, 1, 1, 0, 2, 0, 1, tzinfo=datetime.timezone.utc),
 'item_scraped_count': 20,
 'log_count/ERROR': 2,
 'log_count/INFO': 10,
 'response_received_count': 30}
`
)

func TestCounter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                   "- - -",
		"hello\nitems=5":     "- - -",
		way:                  "5 12 -",
		way + "\n" + closing: "20 30 2",
		closing + way:        "20 30 2",
		closing + closing:    "40 60 4", // two spiders of one process
		"INFO: Dumping Scrapy stats:\n{'finish_reason': 'finished'}":            "0 0 0",
		"INFO: Dumping Scrapy stats:\n{'item_scraped_count': 3,\n'x': 1":        "- - -", // cut off
		"Dumping Scrapy stats: {'item_scraped_count': 3}":                       "3 0 0",
		"crawlbox: items=1 pages=2 errors=3\ncrawlbox: items=10 pages=20":       "10 20 3",
		"2026 INFO crawlbox: pages=7":                                           "- 7 -",
		"crawlbox: items=-1 pages=x errors=99999999999999999999":                "- - -",
		"Crawled 3 pages (at 3 pages/min), scraped 1 items (at 1 items/min)":    "1 3 -",
		"Crawled 99999999999999999999 pages (at 3), scraped 1 items (at 1 i/m)": "1 - -",
	} {
		if got := counted(text); got != want {
			t.Errorf("%.80q: got %s, want %s", text, got, want)
		}
	}
}

func counted(text string) string {
	var c Counter
	for line := range strings.Lines(text) {
		c.Line(strings.TrimSuffix(line, "\n"))
	}
	is := c.Counts()
	show := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	return show(is.Items) + " " + show(is.Pages) + " " + show(is.Errors)
}

// FuzzCounter feeds it what spiders may write: no count is below 0, and what comes before the last closing statistics
// changes nothing on the way to none.
func FuzzCounter(f *testing.F) {
	for _, seed := range []string{"", way, closing, "crawlbox: items=1", "Dumping Scrapy stats:\n{{{,}'\n: "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c Counter
		for line := range strings.Lines(text) {
			c.Line(line)
		}
		is := c.Counts()
		for _, n := range []*int64{is.Items, is.Pages, is.Errors} {
			if n != nil && *n < 0 {
				t.Errorf("%q counts %d", text, *n)
			}
		}
	})
}
