package history

import (
	"maps"
	"slices"
)

// List returns the entries of a service, newest first.
func (s *Store) List(service string) []Entry {
	entries := slices.Clone(s.of(service))
	slices.Reverse(entries)
	return entries
}

// Source returns what the good version of a service was built of that was deployed
// last, nil where that is not known.
func (s *Store) Source(service string) *Source {
	e, _ := newest(s.of(service), func(e Entry) bool { return e.Result == Done && e.Kind == KindDeploy })
	return e.Source
}

// Services returns the names of all services that have a history, sorted.
func (s *Store) Services() []string { return slices.Sorted(maps.Keys(s.all())) }

// Unfinished returns the newest change of each service that has not ended. A
// manager that starts again takes it up or marks it as interrupted.
func (s *Store) Unfinished() map[string]Entry {
	unfinished := map[string]Entry{}
	for service, entries := range s.all() {
		if e, ok := newest(entries, func(e Entry) bool { return e.Result == Running }); ok {
			unfinished[service] = e
		}
	}
	return unfinished
}

// Kept returns the entries of a service whose images must not be removed, newest
// first: the n newest images that were deployed with success, at least one, and
// beyond that number those of changes under way, since such a change may yet
// fail and go back. Of several entries with one image the newest stands for it.
func (s *Store) Kept(service string, n int) []Entry { return kept(s.of(service), n) }

// KeptOf returns what Kept does of KeptVersions, of a document.
func KeptOf(service string, data []byte) ([]Entry, error) {
	entries, err := decode(service, data)
	return kept(entries, KeptVersions), err
}

// KeptVersions is how many versions of a service can be gone back to at once: their
// images stay in the registry and on the nodes.
const KeptVersions = 5

// KeptGone is of how many services that are gone the history is kept: of those that changed last.
const KeptGone = 500

// Outdated returns the services that are gone and whose history is not to be kept, with their
// newest version; there reports which are not gone.
func (s *Store) Outdated(there func(service string) bool) map[string]int {
	all := s.all()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(service string) bool {
		_, runs := newest(all[service], func(e Entry) bool { return e.Result == Running })
		return runs || there(service) || len(all[service]) == 0
	})
	last := func(service string) Entry { return all[service][len(all[service])-1] }
	slices.SortFunc(gone, func(x, y string) int { return last(y).At.Compare(last(x).At) })
	outdated := map[string]int{}
	for _, service := range gone[min(len(gone), KeptGone):] {
		outdated[service] = last(service).Version
	}
	return outdated
}

// KeptImages returns the images that services may go back to, named with their digests.
func (s *Store) KeptImages() (images []string) {
	for service := range s.all() {
		for _, e := range s.Kept(service, KeptVersions) {
			images = append(images, e.Image+"@"+e.Digest)
		}
	}
	return images
}

// Previous returns the newest good version of a service that is older than the one that
// runs. After a way back it is one further back, and never the one that was fled from.
func (s *Store) Previous(service string) (Entry, bool) {
	good := func(e Entry) bool { return e.Result == Done }
	runs, _ := newest(s.of(service), good)
	return newest(s.of(service), func(e Entry) bool { return good(e) && e.Original() < runs.Original() })
}

func (s *Store) Find(service string, version int) (Entry, bool) {
	return newest(s.of(service), func(e Entry) bool { return e.Version == version })
}

func newest(entries []Entry, is func(Entry) bool) (Entry, bool) {
	for _, e := range slices.Backward(entries) {
		if is(e) {
			return e, true
		}
	}
	return Entry{}, false
}

func kept(entries []Entry, n int) []Entry {
	var keep []Entry
	seen, good := map[string]bool{}, 0
	for _, e := range slices.Backward(entries) {
		image := e.artifact()
		if image == "" || seen[image] || e.Result != Running && (e.Result != Done || good >= max(1, n)) {
			continue
		}
		if e.Result == Done {
			good++
		}
		seen[image] = true
		keep = append(keep, e)
	}
	return keep
}
