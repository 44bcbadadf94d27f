package runs

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// Counts is what a spider says that it did; nil is what it does not say.
type Counts struct {
	Items  *int64 `json:"items,omitempty"`
	Pages  *int64 `json:"pages,omitempty"`
	Errors *int64 `json:"errors,omitempty"`
}

// Plus returns two counts together.
func (c Counts) Plus(d Counts) Counts {
	return Counts{plus(c.Items, d.Items), plus(c.Pages, d.Pages), plus(c.Errors, d.Errors)}
}

func plus(a, b *int64) *int64 {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return new(min(*a+*b, maxCount))
}

// maxCount is the highest number that is counted: any program that reads JSON knows it exactly.
const maxCount = 1<<53 - 1

// Counter reads what a task did from the lines of its log, one after the other. Scrapy says it in its closing
// statistics, of each spider of a process, and every minute on the way there; other programs in lines of their own:
// crawlbox: items=10 pages=200 errors=1. What was said last holds. It keeps no line, and its zero value is ready.
type Counter struct {
	dumping bool   // within closing statistics
	dump    Counts // of them so far
	closed  Counts // the closing statistics that have ended
	any     bool   // some have
	way     Counts // the last line on the way
	told    Counts // the last line of crawlbox's own
}

// maxCounted bounds what is read of a line, in bytes: where the log is JSON, closing statistics are one line.
const maxCounted = 16 << 10

var (
	statistic = regexp.MustCompile(`["'](item_scraped_count|response_received_count|log_count/ERROR)\\?["']: (\d+)`)
	onTheWay  = regexp.MustCompile(`Crawled (\d+) pages \(at .*\), scraped (\d+) items \(at `)
	told      = regexp.MustCompile(`\b(items|pages|errors)=(\d+)\b`)
)

// Line reads a line.
func (c *Counter) Line(text string) {
	text = text[:min(len(text), maxCounted)]
	switch {
	case strings.Contains(text, "Dumping Scrapy stats:"):
		c.end()
		c.dumping, c.dump = true, Counts{Items: new(int64), Pages: new(int64), Errors: new(int64)}
		_, text, _ = strings.Cut(text, "Dumping Scrapy stats:")
		c.stat(text)
	case c.dumping:
		if c.stat(text); strings.Contains(text, "Spider closed (") { // a format may have something behind the last }
			c.end()
		}
	case strings.Contains(text, "crawlbox: "):
		_, text, _ = strings.Cut(text, "crawlbox: ")
		for _, found := range told.FindAllStringSubmatch(text, -1) {
			*c.told.of(found[1]) = number(found[2])
		}
	default:
		if found := onTheWay.FindStringSubmatch(text); found != nil {
			c.way.Pages, c.way.Items = number(found[1]), number(found[2])
		}
	}
}

// of returns the field of a word.
func (c *Counts) of(word string) **int64 {
	switch word {
	case "items":
		return &c.Items
	case "pages":
		return &c.Pages
	}
	return &c.Errors
}

// statistics are the names that count, as Scrapy writes its dictionary.
var statistics = map[string]string{
	"item_scraped_count":      "items",
	"response_received_count": "pages",
	"log_count/ERROR":         "errors",
}

// stat reads closing statistics, or a line of them: 'item_scraped_count': 10,
func (c *Counter) stat(text string) {
	for _, found := range statistic.FindAllStringSubmatch(text, -1) {
		if n := number(found[2]); n != nil {
			*c.dump.of(statistics[found[1]]) = n
		}
	}
	if strings.HasSuffix(strings.TrimSpace(text), "}") {
		c.end()
	}
}

func (c *Counter) end() {
	if c.dumping {
		c.closed, c.any, c.dumping = c.closed.Plus(c.dump), true, false
	}
}

func number(text string) *int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return nil
	}
	return &n
}

// Counts returns what was done as far as the lines say.
func (c *Counter) Counts() Counts {
	switch {
	case c.any:
		return c.closed
	case c.way.Items != nil:
		return c.way
	}
	return c.told
}
