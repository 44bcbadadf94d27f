package e2e

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

//go:embed testdata/crawler.py
var crawler string

// spiders is how many replicas crawl, two on each server.
const spiders = 6

// crawl has spiders on all servers crawl a site. It is the walkthrough's image, with a
// spider that does not give up when the queue is away for a moment, and without a shell
// that keeps SIGTERM from it. It finds the queue by itself.
func (s *servers) crawl(flags ...string) {
	s.Helper()
	const directory = "/tmp/crawler"
	dockerfile, err := os.ReadFile(filepath.Join(artifact.Spider(s, "", ""), "Dockerfile"))
	if err != nil {
		s.Fatal(err)
	}
	s.manager.WriteFile(directory+"/Dockerfile", strings.Replace(string(dockerfile), "CMD ", "CMD exec ", 1))
	s.manager.WriteFile(directory+"/spider.py", crawler)
	s.run(append([]string{"queue", "push", "todo"}, s.site.entrances()...)...)
	s.run(append([]string{
		"deploy", directory, "--name", "spider", "--replicas", fmt.Sprint(spiders), "--monitor", "1s",
		"--env", "SLOT={{.Service.Name}}.{{.Task.Slot}}",
	}, flags...)...)
	s.manager.Docker("image", "rm", "python:3.6")
	s.awaitCrawl()
	s.crawlsFrom(s.hosts...)
}

// queueClient makes a client as a further server would have it.
func (s *servers) queueClient() *redis.Client {
	s.Helper()
	var queue api.QueueAddress
	s.read(&queue, "queue", "url")
	options, err := redis.ParseURL(queue.URL)
	if err != nil {
		s.Fatal(err)
	}
	options.Dialer, options.DisableIdentity = s.site.host.DialContext, true
	client := redis.NewClient(options)
	s.Cleanup(func() { client.Close() })
	return client
}

// crawls wants each spider, in the mean, to come to an end with two more pages.
func (s *servers) crawls() {
	s.Helper()
	client := s.queueClient()
	done := func() int {
		n, err := client.LLen(s.Context(), "done").Result()
		if err != nil {
			s.Fatalf("ask the queue: %v", err)
		}
		return int(n)
	}
	begun := done()
	lab.WaitFor(s, patience, "the crawl to go on", func() error { return want(done() >= begun+2*spiders, true) })
}

// crawlsFrom wants spiders on each of these servers to fetch pages.
func (s *servers) crawlsFrom(hosts ...*lab.Host) {
	s.Helper()
	s.crawls()
	since := time.Now()
	for _, h := range hosts {
		lab.WaitFor(s, patience, "spiders on "+h.Name()+" to fetch pages",
			func() error { return want(s.site.visitsFrom(h, since) > 1, true) })
	}
}

// awaitCrawl waits until the crawl is what it was: all spiders are there, in as many
// containers, and go on.
func (s *servers) awaitCrawl() {
	s.Helper()
	s.awaitRunning("spider", spiders)
	lab.WaitFor(s, moveLimit, "as many containers as there are spiders", func() error {
		var names []string
		for _, h := range s.hosts {
			names = append(names, strings.Fields(h.Docker("ps", "--format", h.Name()+":{{.Names}}"))...)
		}
		if len(names) != spiders {
			return fmt.Errorf("they are %q, and Swarm says\n%s", names, s.manager.Docker("service", "ps", "spider"))
		}
		return nil
	})
	s.crawls()
}

// oncePerPage wants no page to be fetched again since a moment, but those whose end the
// queue may have forgotten as it was killed: they were fetched between the moments lost.
func (s *servers) oncePerPage(since time.Time, lost ...time.Time) {
	s.Helper()
	s.crawls()
	for _, before := range s.site.again(since) {
		if len(lost) != 2 || before.Before(lost[0]) || before.After(lost[1]) {
			s.Errorf("a page that was fetched at %s was fetched again after %s", before, since)
		}
	}
}

// crawled ends the crawl and wants each page that a spider was told of to be on the
// list of those that are done, once, whatever has happened to servers meanwhile.
func (s *servers) crawled() {
	s.site.close()
	client := s.queueClient()
	lab.WaitFor(s, patience, "the crawl to come to its end", func() error {
		keys, err := client.Keys(s.Context(), "*").Result()
		if err != nil {
			return err
		}
		return want(strings.Join(keys, " "), "done")
	})
	done, err := client.LRange(s.Context(), "done", 0, -1).Result()
	if err != nil {
		s.Fatal(err)
	}
	pages := s.site.pages()
	for _, url := range done {
		if !pages[url] {
			s.Errorf("%s is done twice, or was never heard of", url)
		}
		delete(pages, url)
	}
	for url := range pages {
		s.Errorf("%s is lost", url)
	}
	s.Logf("%d pages are done, %d times one was fetched again", len(done), len(s.site.again(time.Time{})))
}
