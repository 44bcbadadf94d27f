package doctor

import (
	"context"
	"slices"
	"strings"
	"time"
)

// lookupTimeout bounds one look-up. One that takes longer is no use to Docker.
const lookupTimeout = 3 * time.Second

// publicName is one that every machine with the Internet can look up; images of no
// other registry come from there.
const publicName = "docker.io"

// Names looks up the name under which Docker has the registry, and a public one, which managers have a
// use for: they fetch images of other registries for all, and build.
func (s System) Names(ctx context.Context, manager bool) (list []Finding) {
	ctx, cancel := context.WithTimeout(ctx, 2*lookupTimeout)
	defer cancel()
	addrs, err := s.lookup(ctx, "localhost")
	if err != nil || !slices.Contains(addrs, "127.0.0.1") {
		list = append(list, wrong("dns", Bad,
			"localhost is not 127.0.0.1 on this machine: Docker does not find the registry", "name it in /etc/hosts",
			`echo "127.0.0.1 localhost" >>/etc/hosts`))
	}
	if _, err := s.lookup(ctx, publicName); err != nil {
		level, text := Warn, "public names are not found ("+publicName+")"
		if !strings.Contains(s.readTrimmed("etc/resolv.conf"), "nameserver") {
			level, text = Note, "/etc/resolv.conf names no server"
		}
		what := "what runs here finds nothing of the Internet; images come from the managers all the same"
		if manager {
			what = "images of other registries and base images of builds can't be pulled by this machine"
		}
		list = append(list, wrong("dns", level, text+": "+what,
			"give it a name server if it shall have the Internet; nodes do without"))
	}
	return orGood(list, "dns", "localhost and public names are found")
}

func (s System) lookup(ctx context.Context, host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return s.Lookup(ctx, host)
}
