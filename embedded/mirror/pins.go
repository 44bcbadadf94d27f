package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

// pins lists the images that the cache keeps for as long as there is anything else to
// evict. They outlive the process in a file.
type pins struct {
	cache *cache.Cache
	log   *slog.Logger

	mu     sync.Mutex
	images []digest.Digest // of their manifests; pinned last at the end
}

// pinsVersion is the version of the file's form.
const pinsVersion = 1

type pinsFile struct {
	Version int             `json:"version"`
	Images  []digest.Digest `json:"images"`
}

// openPins takes up the pins of the process before. A file that cannot be read is as
// good as none: nothing is lost but an order of eviction.
func openPins(c *cache.Cache, log *slog.Logger) *pins {
	p := &pins{cache: c, log: log}
	_ = durable.Sweep(p.path())
	images, err := readPins(p.path())
	if err != nil {
		log.Warn("mirror no longer knows which images are pinned; the next deploys pin theirs", "err", err)
	}
	p.images = images
	p.rank()
	return p
}

func (p *pins) path() string { return filepath.Join(p.cache.Dir, "pins.json") }

func readPins(path string) ([]digest.Digest, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file pinsFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if file.Version != pinsVersion {
		return nil, fmt.Errorf("%s has version %d, this program knows %d", path, file.Version, pinsVersion)
	}
	for _, d := range file.Images {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, d, err)
		}
	}
	return file.Images, nil
}

// save writes the file. What cannot be written holds until the end of the process.
func (p *pins) save() {
	data, err := json.Marshal(pinsFile{pinsVersion, p.images})
	if err == nil {
		err = durable.WriteFile(p.path(), append(data, '\n'), 0o600)
	}
	if err != nil {
		p.log.Warn("mirror failed to record which images are pinned", "err", err)
	}
}

// rank tells the cache what the pinned images need.
func (p *pins) rank() {
	ranks := map[digest.Digest]int{}
	for i, image := range p.images {
		for _, d := range imageParts(p.cache, image) {
			ranks[d] = i + 1
		}
	}
	p.cache.SetRanks(ranks)
}

// add pins an image as the newest and reports whether it was not pinned before.
func (p *pins) add(image digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.Index(p.images, image)
	if at >= 0 {
		p.images = slices.Delete(p.images, at, at+1)
	}
	p.images = append(p.images, image)
	p.save()
	p.rank()
	return at < 0
}

// remove unpins an image and drops what no pinned one needs.
func (p *pins) remove(image digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := imageParts(p.cache, image)
	if at := slices.Index(p.images, image); at >= 0 {
		p.images = slices.Delete(p.images, at, at+1)
		p.save()
		p.rank()
	}
	for _, d := range parts {
		if p.cache.Rank(d) == 0 {
			p.cache.Forget(d)
		}
	}
}

// learn is called when a manifest is here: a pinned image may need what it names.
func (p *pins) learn(manifest digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cache.Rank(manifest) > 0 {
		p.rank()
	}
}

// imageParts lists what an image consists of, itself first, as far as its manifests are
// here.
func imageParts(c *cache.Cache, image digest.Digest) []digest.Digest {
	all, seen := []digest.Digest{image}, map[digest.Digest]bool{image: true}
	for i := 0; i < len(all); i++ {
		mf, ok := keptManifest(c, all[i])
		if !ok {
			continue
		}
		for _, d := range mf.names() {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	return all
}

// names returns the digests in a manifest: of other manifests, or of config and layers.
func (m manifest) names() (list []digest.Digest) {
	type descriptor struct {
		Digest digest.Digest `json:"digest"`
	}
	var content struct {
		Manifests []descriptor `json:"manifests"`
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	if json.Unmarshal(m.content, &content) != nil {
		return nil
	}
	for _, d := range slices.Concat(content.Manifests, []descriptor{content.Config}, content.Layers) {
		if d.Digest.Validate() == nil {
			list = append(list, d.Digest)
		}
	}
	return list
}
