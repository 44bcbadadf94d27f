package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// siteChains is how many chains of pages a site has: page n links to page n+siteChains.
// So many are waiting or under way at any time.
const siteChains = 40

// site has pages without an end, until it is closed.
type site struct {
	host *lab.Host
	url  string

	mu     sync.Mutex
	closed bool
	linked map[string]bool    // addresses of pages that somebody was told of
	visits map[string][]visit // of each address, in their order
}

type visit struct {
	from netip.Addr
	at   time.Time
}

// openSite serves a site from a host until the test ends.
func openSite(c *cluster, on *lab.Host) *site {
	c.Helper()
	s := &site{host: on, url: "http://" + addrOf(on, 8080), linked: map[string]bool{}, visits: map[string][]visit{}}
	srv := httptest.NewUnstartedServer(s)
	srv.Listener.Close()
	srv.Listener = on.Listen(addrOf(on, 8080))
	srv.Start()
	c.Cleanup(srv.Close)
	return s
}

// entrances are the pages to begin with.
func (s *site) entrances() (urls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range siteChains {
		urls = append(urls, s.link(n))
	}
	return urls
}

func (s *site) link(page int) string {
	url := fmt.Sprintf("%s/%d", s.url, page)
	s.linked[url] = true
	return url
}

// ServeHTTP answers with the addresses that a page links to.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	from, err2 := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || err2 != nil {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	url := s.url + r.URL.Path
	s.visits[url] = append(s.visits[url], visit{from.Addr(), time.Now()})
	if !s.closed {
		fmt.Fprintln(w, s.link(page+siteChains))
	}
}

// close lets pages have no links any more.
func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// pages are the addresses that somebody was told of.
func (s *site) pages() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pages := map[string]bool{}
	for url := range s.linked {
		pages[url] = true
	}
	return pages
}

// visitsFrom counts those of a host since a moment.
func (s *site) visitsFrom(h *lab.Host, since time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, visits := range s.visits {
		for _, v := range visits {
			if v.from == h.IP() && v.at.After(since) {
				n++
			}
		}
	}
	return n
}

// again returns, of each visit since a moment to a page that had been visited, when that
// was.
func (s *site) again(since time.Time) (before []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, visits := range s.visits {
		for i, v := range visits {
			if i > 0 && v.at.After(since) {
				before = append(before, visits[i-1].at)
			}
		}
	}
	return before
}
