package runs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// telling is an extension of Scrapy that writes down its statistics, and a spider that does all that counts: of its
// pages one has items, one is an error of the spider, one is not there, and one gives up.
const telling = `import json
import os

import scrapy
from scrapy import signals


class Telling:
    def __init__(self, stats):
        self.stats = stats

    @classmethod
    def from_crawler(cls, crawler):
        self = cls(crawler.stats)
        crawler.signals.connect(self.closed, signal=signals.spider_closed)
        return self

    def closed(self, spider):
        with open(os.environ['TELLING'], 'w') as f:
            json.dump(self.stats.get_stats(), f, default=str)


class Spider(scrapy.Spider):
    name = 'all'

    def start_requests(self):
        for path in 'items', 'wrong', 'missing', 'broken':
            yield scrapy.Request(self.site + '/' + path, self.parse)

    def parse(self, response):
        if response.url.endswith('wrong'):
            raise ValueError('this spider fails here\nDumping nothing')
        for n in range(5):
            yield {'n': n, 'text': "{'item_scraped_count': 99}"}
`

// TestCounter_Scrapy runs the Scrapy of this machine, and wants of its log what its statistics say.
func TestCounter_Scrapy(t *testing.T) {
	t.Parallel()
	scrapy, err := exec.LookPath("scrapy")
	if err != nil {
		testenv.SkipOrFail(t, "scrapy is missing: run .ci/deps")
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(site.Close)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../testdata/spiders/scrapy")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "telling.py"), []byte(telling), 0o644); err != nil {
		t.Fatal(err)
	}
	all := []string{"runspider", "telling.py", "-a", "site=" + site.URL, "-s", "RETRY_TIMES=1", "-s"}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"project":  {[]string{"crawl", "quotes"}, "2 2 0"},
		"errors":   {append(all[:len(all):len(all)], "LOG_LEVEL=DEBUG"), "5 4 2"},
		"a format": {append(all[:len(all):len(all)], "LOG_FORMAT=%(levelname)s: %(message)s | %(name)s"), "5 4 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := filepath.Join(t.TempDir(), "stats.json")
			args := append(c.args, "-s", `EXTENSIONS={"telling.Telling": 1}`)
			cmd := exec.CommandContext(t.Context(), scrapy, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TELLING="+told, "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1",
				"no_proxy=*")
			log, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			var is struct {
				Items  int `json:"item_scraped_count"`
				Pages  int `json:"response_received_count"`
				Errors int `json:"log_count/ERROR"`
			}
			data, err := os.ReadFile(told)
			if err == nil {
				err = json.Unmarshal(data, &is)
			}
			if err != nil {
				t.Fatal(err)
			}
			own, got := fmt.Sprint(is.Items, is.Pages, is.Errors), counted(string(log))
			if got != own || own != c.want || !strings.Contains(string(log), "Spider closed (finished)") {
				t.Errorf("read %s, its statistics say %s, want %s of\n%s", got, own, c.want, log)
			}
		})
	}
}
