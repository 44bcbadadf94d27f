package runs

import (
	"fmt"
	"runtime"
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
		"INFO: Dumping Scrapy stats:\n{'item_scraped_count': 3,\n 'x': 1":       "- - -", // cut off
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

// statsOf are closing statistics as a version of Scrapy or a format of logs has them. All say 20, 30 and 2.
var statsOf = map[string]string{
	"2.13, another project's name": `2026-01-01 00:02:00 [scrapy.statscollectors] INFO: Dumping Scrapy stats:
{'downloader/request_bytes': 231,
 'elapsed_time_seconds': 60.5,
 'item_scraped_count': 20,
 'items_per_minute': 20.0,
 'log_count/ERROR': 2,
 'response_received_count': 30,
 'responses_per_minute': 30.0,
 'start_time': datetime.datetime(2026, 1, 1, 0, 1, 0, 1, tzinfo=datetime.timezone.utc)}
2026-01-01 00:02:00 [scrapy.core.engine] INFO: Spider closed (finished)`,
	"0.24": "2014-01-01 00:02:00+0000 [quotes] INFO: Dumping Scrapy stats:\n" +
		"\t{'downloader/request_bytes': 231,\n\t 'item_scraped_count': 20,\n\t 'log_count/ERROR': 2,\n" +
		"\t 'response_received_count': 30,\n\t 'start_time': datetime.datetime(2014, 1, 1, 0, 2)}\n" +
		"2014-01-01 00:02:00+0000 [quotes] INFO: Spider closed (finished)",
	"1.8, a spider's own dictionary": `2020-01-01 00:02:00 [scrapy.statscollectors] INFO: Dumping Scrapy stats:
{'by_host': {'a.example': 1,
             'b.example': 2},
 'item_scraped_count': 20,
 'log_count/ERROR': 2,
 'own': {'item_dropped_count': 7},
 'response_received_count': 30}`,
	"on one line": "Dumping Scrapy stats: {'item_scraped_count': 20, 'log_count/ERROR': 2, " +
		"'response_received_count': 30}",
	"without time": strings.ReplaceAll(closing, "2026-01-01 00:02:00 [scrapy.statscollectors] ", ""),
	"behind a prefix": strings.ReplaceAll(strings.TrimSpace(closing), "\n", "\n[spider-1] ") +
		"\n[spider-1] INFO: Spider closed (finished)",
	"with an end": "Dumping Scrapy stats:\n{'item_scraped_count': 20,\n 'log_count/ERROR': 2,\n" +
		" 'response_received_count': 30} | scrapy.statscollectors\nSpider closed (finished) | scrapy.core.engine",
	"in colours": "\x1b[32m[scrapy] INFO\x1b[0m: Dumping Scrapy stats:\n{'item_scraped_count': 20,\n" +
		" 'log_count/ERROR': 2,\n 'response_received_count': 30}\x1b[0m\n\x1b[32mINFO\x1b[0m: Spider closed (x)",
	"as JSON": `{"level": "INFO", "message": "Dumping Scrapy stats:\n{'item_scraped_count': 20,\n ` +
		`'log_count/ERROR': 2,\n 'response_received_count': 30}", "name": "scrapy.statscollectors"}`,
	"as JSON in JSON": `{"message": "Dumping Scrapy stats:\n{\"item_scraped_count\": 20, \"log_count/ERROR\": 2, ` +
		`\"response_received_count\": 30}"}`,
	"with another's line between": "Dumping Scrapy stats:\n{'item_scraped_count': 20,\nhello\n " +
		"'log_count/ERROR': 2,\n 'response_received_count': 30}",
	"beside crawlbox's":      closing + "crawlbox: items=1 pages=1 errors=1",
	"behind crawlbox's":      "crawlbox: items=1 pages=1 errors=1\n" + closing,
	"with lines on the way":  way + "\n" + closing + way,
	"of a terminal":          strings.ReplaceAll(closing, "\n", "\r\n"),
	"of two spiders":         strings.ReplaceAll(strings.ReplaceAll(closing+closing, "20,", "10,"), "2,", "1,"),
	"with more than counted": strings.Replace(closing, " 'finish", " 'max_item_scraped_count': 99,\n 'finish", 1),
}

func TestCounter_Formats(t *testing.T) {
	t.Parallel()
	for name, text := range statsOf {
		want := "20 30 2"
		if name == "of two spiders" {
			want = "20 60 2"
		}
		if got := counted(text); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// TestCounter_Bounds: the longest and most lines leave nothing behind, and no sum is more than any program can read.
func TestCounter_Bounds(t *testing.T) {
	var c Counter
	long := "Dumping Scrapy stats: {'item_scraped_count': 9007199254740991}" + strings.Repeat("{'x': 1,", 4<<10)
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	for n := range 200 {
		c.Line(strings.Clone(long))
		c.Line(fmt.Sprint("crawlbox: items=", n, strings.Repeat(" pages=1", 1000)))
	}
	if after := held(); after > before+1<<20 {
		t.Errorf("it holds %d bytes", after-before)
	}
	if is := c.Counts(); is.Items == nil || *is.Items != maxCount {
		t.Errorf("it counts %+v", is)
	}
	if sum := c.Counts().Plus(c.Counts()); *sum.Items != maxCount {
		t.Errorf("together %d", *sum.Items)
	}
}

// FuzzCounter feeds it what spiders may write: no count is below 0, and closing statistics count whatever is before
// them.
func FuzzCounter(f *testing.F) {
	for _, seed := range []string{"", way, closing, "crawlbox: items=1", "Dumping Scrapy stats:\n{{{,}'\n: "} {
		f.Add(seed)
	}
	for _, seed := range statsOf {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c Counter
		for line := range strings.Lines(text) {
			c.Line(line)
		}
		check := func(is Counts) {
			t.Helper()
			for _, n := range []*int64{is.Items, is.Pages, is.Errors} {
				if n != nil && (*n < 0 || *n > maxCount) {
					t.Errorf("%q counts %d", text, *n)
				}
			}
		}
		check(c.Counts())
		for line := range strings.Lines(closing) {
			c.Line(line)
		}
		is := c.Counts()
		if check(is); is.Items == nil || *is.Items < 20 || *is.Pages < 30 || *is.Errors < 2 {
			t.Errorf("%q and closing statistics count %+v", text, is)
		}
	})
}
