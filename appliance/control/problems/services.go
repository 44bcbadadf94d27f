package problems

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// starting is how long a service may take to have all its replicas before that is bad.
const starting = 2 * time.Minute

// services returns what is wrong with the services of the cluster.
func (s Seen) services() (list []api.Problem) {
	if s.Cluster == nil {
		return nil
	}
	for _, svc := range s.Cluster.Services {
		if svc.IsRun() { // its record says what it ended by
			continue
		}
		for _, p := range []func(fleet.Service) *problem{s.running, s.lastDeploy, s.queueOf, s.spread} {
			if found := p(svc); found != nil {
				list = append(list, api.Problem{
					Level:   found.level,
					Kind:    found.kind,
					Subject: svc.Name,
					Text:    "service " + svc.Name + ": " + words.OneLine(found.text),
				})
			}
		}
	}
	return list
}

// problem is one of a service.
type problem struct {
	level      api.Level
	kind, text string
}

// running returns what keeps the replicas of a service from running.
func (s Seen) running(svc fleet.Service) *problem {
	snap := *s.Cluster
	tasks := snap.TasksOf(svc.ID)
	loop, loops := fleet.CrashLoop(tasks, snap.Taken)
	forgotten := 0
	for _, t := range tasks {
		if t.Forgotten {
			forgotten++
		}
	}
	look := fmt.Sprintf("; look with `crawlbox ps %s`", svc.Name)
	switch {
	case loops:
		why, known := s.Why[loop.Last.ID]
		if !known {
			why = loop.Last.Error
		}
		return &problem{api.Bad, api.ServiceFailing, fmt.Sprintf(
			"%s fails again and again, %d times in %s, on %s last: %s; Swarm starts it again %s after each; look with "+
				"`crawlbox logs %s`",
			loop.Last.Name(), loop.Failures, loop.Within.Round(time.Second), snap.NodeName(loop.Last.NodeID), why,
			svc.RestartDelay, svc.Name)}
	case svc.Update == fleet.UpdatePaused || svc.Update == fleet.RollbackPaused:
		return &problem{api.Bad, api.UpdatePaused, "its update stopped halfway" + look}
	case forgotten > 0:
		return &problem{api.Bad, api.ServiceForgotten, fmt.Sprintf(
			"%s for a node, though nodes could take %s: Swarm has forgotten them; `crawlbox restart %s` has them start",
			wait(forgotten), map[bool]string{true: "it", false: "them"}[forgotten == 1], svc.Name)}
	case !svc.Converged():
		level := api.Bad
		if s.Now.Sub(svc.Updated) < starting || svc.Update == fleet.Updating || svc.Update == fleet.RollingBack {
			level = api.Warning
		}
		return &problem{level, api.ServiceShort, fmt.Sprintf("%d of %d running%s%s", svc.Running,
			svc.Desired-svc.Complete, s.shortOf(svc, tasks), look)}
	}
	return nil
}

// Crashed returns the last task of each service that crashes again and again.
func Crashed(snap fleet.Snapshot) (tasks []fleet.Task) {
	for _, svc := range snap.Services {
		if loop, loops := fleet.CrashLoop(snap.TasksOf(svc.ID), snap.Taken); loops && !svc.IsRun() {
			tasks = append(tasks, loop.Last)
		}
	}
	return tasks
}

func wait(replicas int) string {
	if replicas == 1 {
		return "1 replica waits"
	}
	return fmt.Sprintf("%d replicas wait", replicas)
}

// shortOf says why replicas of a service do not run.
func (s Seen) shortOf(svc fleet.Service, tasks []fleet.Task) string {
	var lost []string
	var last fleet.Task
	for _, t := range tasks {
		if t.Lost != "" && t.Desired == fleet.TaskRunning && !slices.Contains(lost, t.Lost) {
			lost = append(lost, t.Lost)
		}
		if t.Error != "" && t.Since.After(last.Since) {
			last = t
		}
	}
	switch {
	case len(lost) > 0:
		return fmt.Sprintf(", and nothing is known of %d: %s", svc.Lost, words.Some(lost, 3))
	case last.Error != "":
		return fmt.Sprintf(" (last error: %s)", last.Error)
	}
	return ""
}

// lastDeploy returns how the last deploy of a service ended that was no success. Once the version
// before runs well that is news, until something else is done with the service, and no problem.
func (s Seen) lastDeploy(svc fleet.Service) *problem {
	if s.noted(svc.Name, services.Untaken) { // which says it in other words
		return nil
	}
	level := api.Warning
	if s.hasSettled(svc) {
		level = api.Note
	}
	if s.Last == nil {
		if svc.Update == fleet.UpdateRolledBack {
			return &problem{level, api.RolledBack, fmt.Sprintf(
				"its last update failed and the version before it is back (%s); look with `crawlbox ps --all %s`",
				svc.Message, svc.Name)}
		}
		return nil
	}
	e, ok := s.Last(svc.Name)
	ended := e.At.Add(e.Took)
	switch {
	case !ok:
	case e.Result == history.Failed && svc.Desired > 0 && svc.Deploy == e.Mark() && !s.loops(svc) && !s.hasSettled(svc):
		return &problem{api.Bad, api.DeployFailed, fmt.Sprintf("its last deploy failed: %s",
			strings.TrimPrefix(e.Why, svc.Name+": "))}
	case svc.UpdateStarted.After(ended): // something else was done with it since
	case e.Definition != "" && e.Definition == svc.Hash || s.isAsDefined(svc):
	case e.Result == history.RolledBack:
		return &problem{level, api.RolledBack, fmt.Sprintf(
			"version %d did not work, and the one before it is back: %s; deploy a better one; see `crawlbox "+
				"history %s`", e.Version, e.Cause(), svc.Name)}
	case e.Result == history.Interrupted && e.WasCutOff():
		return &problem{level, api.Interrupted, fmt.Sprintf("the deploy of version %d was interrupted: %s",
			e.Version, e.Why)}
	}
	return nil
}

// hasSettled reports whether all replicas of a service have run for a while: whatever kept them
// from it is over.
func (s Seen) hasSettled(svc fleet.Service) bool {
	return svc.Converged() && !slices.ContainsFunc(s.Cluster.TasksOf(svc.ID), func(t fleet.Task) bool {
		return t.State == fleet.TaskRunning && s.Now.Sub(t.Since) < starting
	})
}

func (s Seen) loops(svc fleet.Service) bool {
	_, loops := fleet.CrashLoop(s.Cluster.TasksOf(svc.ID), s.Cluster.Taken)
	return loops
}

// isAsDefined reports whether a service is what the config file says: whatever was tried before
// is over.
func (s Seen) isAsDefined(svc fleet.Service) bool { return s.noted(svc.Name, services.AsDefined) }

func (s Seen) noted(service string, kind services.NoteKind) bool {
	return slices.ContainsFunc(s.Config, func(n services.Note) bool { return n.Service == service && n.Kind == kind })
}

// spread returns how the replicas of a service lie on the nodes, where a restart of it would
// spread them better.
func (s Seen) spread(svc fleet.Service) *problem {
	if svc.Mode != fleet.ModeReplicated || !svc.Converged() || svc.Running < 2 || svc.Reserves ||
		svc.Update == fleet.Updating || svc.Update == fleet.RollingBack || svc.Pending != "" {
		return nil
	}
	on := map[string]int{}
	for _, t := range s.Cluster.TasksOf(svc.ID) {
		if t.State == fleet.TaskRunning && t.Desired == fleet.TaskRunning {
			on[t.NodeID]++
		}
	}
	var full fleet.Node
	var empty []string
	for _, n := range fleet.Eligible(s.Cluster.Nodes, svc.Needs()).May {
		switch {
		case slices.Contains(svc.Avoids, n.ID) || n.Silent() != "":
		case on[n.ID] == 0:
			empty = append(empty, n.Display)
		case on[n.ID] > on[full.ID]:
			full = n
		}
	}
	remedy := fmt.Sprintf("Swarm does not move what runs: `crawlbox restart %s` spreads them", svc.Name)
	switch {
	case len(empty) == 0 || on[full.ID] < 2:
		return nil
	case len(on) == 1:
		return &problem{api.Warning, api.Uneven, fmt.Sprintf("all %d replicas run on %s, and none on %s; %s",
			svc.Running, full.Display, words.Some(empty, maxNames), remedy)}
	}
	return &problem{api.Note, api.NodeIdle, fmt.Sprintf("%d of %d replicas run on %s, and none on %s; %s", on[full.ID],
		svc.Running, full.Display, words.Some(empty, maxNames), remedy)}
}

// config returns what is wrong with the config file and what it says of services.
func (s Seen) config() (list []api.Problem) {
	levels := map[services.NoteKind]struct {
		level api.Level
		kind  string
	}{
		services.Broken:      {api.Bad, api.FileBroken},
		services.Late:        {api.Warning, api.RestartNeeded},
		services.NotInForce:  {api.Note, api.OtherFile},
		services.Unready:     {api.Warning, api.FileNotApplied},
		services.Untaken:     {api.Warning, api.FileNotApplied},
		services.Foreign:     {api.Warning, api.FileNotApplied},
		services.Gone:        {api.Note, api.LeftFile},
		services.Removed:     {api.Note, api.KeptAway},
		services.NotDeployed: {api.Note, api.NotDeployed},
	}
	for _, n := range s.Config {
		is, told := levels[n.Kind]
		if !told || (n.Kind == services.Gone || n.Kind == services.Foreign) && s.isGone(n.Service) {
			continue
		}
		text := n.Text
		if n.Kind == services.Broken {
			text += "; see `crawlbox config check`"
		}
		if n.Service != "" {
			text = "service " + n.Service + ": " + text
		}
		list = append(list, api.Problem{Level: is.level, Kind: is.kind, Subject: n.Service, Text: words.OneLine(text)})
	}
	return list
}

// isGone reports whether there is no such service in the swarm.
func (s Seen) isGone(service string) bool {
	if s.Cluster == nil {
		return false
	}
	_, there := s.Cluster.Service(service)
	return !there
}

// queueOf returns that a service knows the queue by another URL than it has now.
func (s Seen) queueOf(svc fleet.Service) *problem {
	if s.QueueMarks == nil || svc.Queue == "" || slices.Contains(s.QueueMarks, svc.Queue) || svc.Desired == 0 {
		return nil
	}
	return &problem{api.Bad, api.QueueChanged, fmt.Sprintf("the address or password of the queue changed after it was "+
		"deployed, so it reaches it at most through the node that had it; "+
		"`crawlbox restart %s` tells it the new one", svc.Name)}
}

// fronts returns the nodes on which the queue can't be had by its name.
func (s Seen) fronts() (list []api.Problem) {
	on := slices.ContainsFunc(s.QueueMarks, func(mark string) bool { return mark != "" })
	for _, m := range s.Members {
		if on && m.State == gossip.Alive && m.Queue == gossip.QueueAway {
			text := fmt.Sprintf("services on %s do not get to the queue by its name: its port is another program's "+
				"there, as `crawlbox status` on it says, or Docker has no network docker0; until then services that "+
				"are deployed are told the manager's address", m.Name)
			list = append(list, api.Problem{Level: api.Warning, Kind: api.QueueFront, Text: text})
		}
	}
	return list
}

// dead returns which keys of the queue have dead items. Their names are whatever programs like.
func (s Seen) dead() []api.Problem {
	if len(s.QueueDead) == 0 {
		return nil
	}
	var list []string
	for _, of := range s.QueueDead {
		list = append(list, fmt.Sprintf("%s of %s", words.Count(int(of.Items), "item"), keyName(of.Key)))
	}
	return []api.Problem{{Level: api.Warning, Kind: api.QueueDead, Text: fmt.Sprintf("the queue has dead items, "+
		"which came back too often: %s; look at them with `crawlbox queue dead ls %s`, and put them back with "+
		"`crawlbox queue dead retry`, or forget them with `crawlbox queue dead drop`", words.Some(list, maxNames),
		keyName(s.QueueDead[0].Key))}}
}

// keyName returns the name of a key, quoted where a shell or a terminal may take it for something else; of a long one
// its beginning.
func keyName(key string) string {
	const most = 80
	if len(key) > most {
		return fmt.Sprintf("%q…", key[:most])
	}
	if quoted := fmt.Sprintf("%q", key); strings.Trim(quoted, `"`) != key || strings.ContainsAny(key, keyMarks) {
		return quoted
	}
	return key
}

const keyMarks = " *?[]{}()<>|&;$`'!#~"

// isForeign reports whether what keeps the queue's items is not run by crawlbox.
func (s Seen) isForeign() bool { return s.QueueEngine != "" && s.QueueEngine != configs.EngineValkey }

// queue returns what is wrong with the queue.
func (s Seen) queue() (list []api.Problem) {
	if s.Queue == nil {
		return nil
	}
	add := func(level api.Level, kind, format string, args ...any) {
		list = append(list, api.Problem{Level: level, Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
	if s.Queue.Problem != "" {
		add(api.Bad, api.QueueDown, "the queue does not run: %s; it is tried again by itself, and all else goes on",
			s.Queue.Problem)
	}
	if s.Queue.Engine != "" {
		add(api.Bad, api.QueueDown, "%s; it is tried again by itself, and all else goes on", s.Queue.Engine)
	}
	if is := s.Queue.Progress; s.isForeign() && is.Bound > 0 && is.Memory >= is.Bound {
		add(api.Bad, api.QueueFull, "the queue's engine %s holds as much as its maxmemory lets it: it refuses writes, "+
			"or deletes keys where its maxmemory-policy is not noeviction; raise maxmemory there, or take items out",
			s.QueueEngine)
	} else if is.Bound > 0 && is.Memory >= is.Bound {
		add(api.Bad, api.QueueFull, "the queue is full, and refuses what makes it larger with OOM; take items out, or "+
			"raise queue.max_memory and start crawlbox again")
	}
	if s.Queue.Progress.NoDisk {
		add(api.Bad, api.QueueDisk, "the queue cannot write to its disk, and refuses writes until it can: free space "+
			"there; the log says which file and why")
	}
	for _, m := range s.Queue.Missing {
		if m.Step != sandbox.StepNamespaces {
			add(api.Warning, api.QueueSandbox, "the queue's process %s; `crawlbox install manager` writes a unit that "+
				"allows that", m)
		}
	}
	return list
}
