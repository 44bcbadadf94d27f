package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// restarted wants that no container is restarted with crawlbox, and no page crawled again.
func (s *servers) restarted() {
	was, begun := s.containers(), time.Now()
	for _, h := range s.hosts {
		h.MustExec("systemctl", "restart", "crawlbox")
	}
	s.awaitReady(3)
	s.oncePerPage(begun) // a clean stop of the queue loses nothing
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

func (s *servers) killed() {
	was, begun := s.containers(), time.Now()
	for _, h := range s.hosts {
		took := s.kill(h, "KILL")
		s.Logf("crawlbox on %s was back after %s", h.Name(), took.Round(10*time.Millisecond))
		if took > 5*time.Second {
			s.Errorf("that is above 5 s")
		}
	}
	back := time.Now()
	s.awaitReady(3)
	// The queue forgets one second at most; a page takes its time before.
	s.oncePerPage(begun, begun.Add(-2*time.Second), back)
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

// dockerAway wants that a Docker which hangs is no reason for a restart, and that no
// restart is a reason to start one that is stopped. The tasks of that one move.
func (s *servers) dockerAway() {
	h := s.worker
	h.SignalDocker(syscall.SIGSTOP)
	was, fed := s.show(h, "InvocationID"), map[string]bool{}
	lab.WaitFor(s, patience, "the watchdog to be fed", func() error {
		fed[s.show(h, "WatchdogTimestampMonotonic")] = true
		return want(len(fed) > 4, true) // more than one limit
	})
	if now := s.show(h, "InvocationID"); now != was {
		s.Error("crawlbox was restarted because of Docker")
	}
	contains(s.T, s.show(h, "StatusText"), "waiting for Docker")
	h.SignalDocker(syscall.SIGCONT)
	s.awaitReady(3)
	h.StopDocker()
	stopped := time.Now()
	s.asleep(h)
	s.kill(h, "KILL")
	s.asleep(h)
	s.kill(h, "STOP") // all that the process does hangs
	contains(s.T, h.MustExec("journalctl", "--unit=crawlbox"), "Watchdog timeout")
	s.awaitMoved(h, stopped)
	s.asleep(h)

	was = s.show(h, "InvocationID")
	h.StartDocker()
	s.awaitReady(3)
	if now := s.show(h, "InvocationID"); now != was {
		s.Error("crawlbox was restarted because Docker was")
	}
	s.run("scale", fmt.Sprintf("spider=%d", spiders+2)) // Swarm spreads no task again that runs
	s.crawlsFrom(s.hosts...)
	s.run("scale", fmt.Sprintf("spider=%d", spiders))
	s.awaitCrawl()
}

// moveLimit is what Swarm takes to give up a node, some 20 s, and to start containers on
// others, with room for a slow machine.
const moveLimit = time.Minute

// awaitMoved waits until all spiders run elsewhere, and crawl.
func (s *servers) awaitMoved(from *lab.Host, stopped time.Time) {
	s.Helper()
	lab.WaitFor(s, time.Until(stopped.Add(moveLimit)), "the tasks of "+from.Name()+" to move", func() error {
		elsewhere := 0
		for _, t := range s.tasks("spider") {
			if t.Node != from.Name() {
				elsewhere++
			}
		}
		return want(elsewhere, spiders)
	})
	s.Logf("the tasks of %s have moved %s after its Docker was stopped", from.Name(),
		time.Since(stopped).Round(time.Second))
	s.crawlsFrom(s.manager, s.other)
	if n := s.site.visitsFrom(from, stopped); n != 0 {
		s.Errorf("%d pages were fetched from %s, whose Docker is stopped", n, from.Name())
	}
}

// rebooted shuts the manager's machine down in good order and starts it again. The
// workers' containers run on.
func (s *servers) rebooted() {
	h := s.manager
	was := s.containersOn(s.worker, s.other)
	h.ShutDown()
	h.PowerOn()
	s.awaitManager()
	s.awaitCrawl()
	s.runOn(was)
}

// awaitManager waits until the manager is back after a boot, with nobody's help.
func (s *servers) awaitManager() {
	s.Helper()
	lab.WaitFor(s, patience, "crawlbox to be back",
		func() error { return want(s.show(s.manager, "ActiveState"), "active") })
	lab.WaitFor(s, patience, "the swarm to be led",
		func() error { return s.manager.Exec(s.Context(), "crawlbox", "nodes").Err() })
	s.awaitReady(len(s.hosts))
}

// show returns a property of the service.
func (s *servers) show(h *lab.Host, property string) string {
	s.Helper()
	return h.MustExec("systemctl", "show", "--property="+property, "--value", "crawlbox.service")
}

// kill sends a signal to crawlbox and returns how long it takes until another one
// serves in its place.
func (s *servers) kill(h *lab.Host, signal string) time.Duration {
	s.Helper()
	was, begun := s.show(h, "InvocationID"), time.Now()
	h.MustExec("systemctl", "kill", "--kill-who=main", "--signal="+signal, "crawlbox.service")
	lab.WaitFor(s, patience, "crawlbox on "+h.Name()+" to be back", func() error {
		if s.show(h, "InvocationID") == was {
			return fmt.Errorf("it has not been started again")
		}
		return want(s.show(h, "ActiveState"), "active")
	})
	return time.Since(begun)
}

// containers are those of all servers, with when they were started.
func (s *servers) containers() string {
	s.Helper()
	return s.containersOn(s.hosts...)
}

func (s *servers) containersOn(hosts ...*lab.Host) (list string) {
	s.Helper()
	for _, h := range hosts {
		list += h.MustExec("sh", "-c",
			"docker ps -q | xargs -r docker inspect --format '{{.Id}} {{.State.StartedAt}}'") + "\n"
	}
	return list
}

// runOn wants containers of workers to run on, whatever else runs there now.
func (s *servers) runOn(containers string) {
	s.Helper()
	contains(s.T, s.containersOn(s.worker, s.other), strings.Split(strings.TrimSpace(containers), "\n")...)
}
