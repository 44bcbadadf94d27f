package registry

import (
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// pushPause is how long a push may rest between two of its requests. Docker
// retries for less.
const pushPause = 2 * time.Minute

var contentPath = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests)/([^/]+)`)

// pushes knows which blobs a push that may be under way counts on: it was told
// that they are there, and has not named them in a tagged manifest yet. It also
// knows the images that were removed on purpose. Both last as long as the
// process.
//
// It grows by what was found or brought only, so by no more than the registry
// holds: a request that fails leaves nothing, and one that may only read is not
// watched.
type pushes struct {
	uploaded func(digest.Digest) // is told of each blob that a push has brought

	mu      sync.Mutex
	repos   map[string]*pushState
	pruned  time.Time // when the pushes that have ended were forgotten last
	removed []removal
}

// pushState holds what is known of the pushes to one repository.
type pushState struct {
	requests int // that run now
	last     time.Time
	asked    map[digest.Digest]int // by how many requests that run now
	told     map[digest.Digest]bool
}

// removal lists what an image consisted of whose tag was taken away.
type removal struct {
	repo    string
	digests []digest.Digest
	at      time.Time
}

// watch counts a request that belongs to a push: one that writes, or asks for a
// blob's presence, as pulls do not. ended takes the status of the answer; it is
// nil for other requests.
func (p *pushes) watch(req *http.Request, now func() time.Time) (ended func(status int)) {
	f := contentPath.FindStringSubmatch(req.URL.Path)
	switch {
	case f == nil, req.Method == http.MethodGet,
		req.Method == http.MethodHead && (f[2] == "manifests" || onlyReads(req)):
		return nil
	}
	query := req.URL.Query()
	repo, blobs := f[1], digestsOf(f[3], query.Get("mount"), query.Get("digest"))
	p.begin(repo, now(), blobs)
	brought := digest.Digest("")
	if f[2] == "blobs" && f[3] == "uploads" {
		brought = digest.Digest(query.Get("digest"))
	}
	named := req.Method == http.MethodPut && f[2] == "manifests" && !strings.Contains(f[3], ":")
	return func(status int) {
		if brought.Validate() == nil && status == http.StatusCreated {
			p.uploaded(brought)
		}
		p.end(repo, now(), blobs, status < http.StatusBadRequest)
		if named && status == http.StatusCreated {
			p.landed(repo)
		}
	}
}

func digestsOf(texts ...string) (list []digest.Digest) {
	for _, text := range texts {
		if d := digest.Digest(text); d.Validate() == nil {
			list = append(list, d)
		}
	}
	return list
}

func (p *pushes) begin(repo string, now time.Time, blobs []digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.pruned) > pushPause {
		p.prune(now)
	}
	s := p.repos[repo]
	if s == nil {
		s = &pushState{asked: map[digest.Digest]int{}, told: map[digest.Digest]bool{}}
		p.repos[repo] = s
	}
	s.requests++
	s.last = now
	for _, d := range blobs {
		s.asked[d]++
	}
}

// end notes how a request ended. A state with requests is in repos.
func (p *pushes) end(repo string, now time.Time, blobs []digest.Digest, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.repos[repo]
	s.requests--
	s.last = now
	for _, d := range blobs {
		if s.asked[d]--; s.asked[d] == 0 {
			delete(s.asked, d)
		}
		if found {
			s.told[d] = true
		}
	}
	if s.requests == 0 && len(s.told) == 0 {
		delete(p.repos, repo)
	}
}

// landed is called when a push has named its blobs in a tagged manifest.
func (p *pushes) landed(repo string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.repos[repo]; s != nil {
		clear(s.told)
	}
}

// prune forgets the pushes that have ended. The caller holds mu.
func (p *pushes) prune(now time.Time) {
	p.pruned = now
	for repo, s := range p.repos {
		if s.requests == 0 && now.Sub(s.last) > pushPause {
			delete(p.repos, repo)
		}
	}
}

// needed returns what the pushes that may be under way count on.
func (p *pushes) needed(now time.Time) map[digest.Digest]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune(now)
	all := map[digest.Digest]bool{}
	for _, s := range p.repos {
		maps.Copy(all, s.told)
		for d := range s.asked {
			all[d] = true
		}
	}
	return all
}

func (p *pushes) remove(image removal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = append(p.removed, image)
}

// takeRemoved returns the images that were removed since the last call.
func (p *pushes) takeRemoved() []removal {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.removed
	p.removed = nil
	return list
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
