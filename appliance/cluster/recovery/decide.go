package recovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Situation is what a manager knows of its cluster.
type Situation struct {
	Name  string    // of this machine
	Epoch int       // of the state
	Time  time.Time // of its newest commit

	Moved   *doctor.Moved // the machine has lost its address; nil: it has it
	Addr    netip.Addr    // that it is to have from now on
	AddrErr error         // why there is none

	Swarm  swarm.Info
	Nodes  []fleet.Node // of the swarm; nil: it has no leader, or is none
	Others []Manager    // that are to have the state, or Swarm's raft

	Home  string        // of the queue, by the state; empty: no manager has it
	Queue netip.Addr    // where services reach the queue; not valid: nowhere
	On    bool          // the config of this machine turns the queue on
	Copy  *standby.Copy // of the queue, that this machine has; nil: none
}

// Manager is another manager.
type Manager struct {
	ID      string // Swarm's
	Name    string
	Addr    netip.Addr
	Answers bool // its machine does: there is a Docker or a crawlbox
}

func (m Manager) String() string {
	if m.Name == "" {
		return m.Addr.String()
	}
	return fmt.Sprintf("%s (%s)", m.Name, m.Addr)
}

// Refusals of Decide.
var (
	ErrNothing = errors.New("nothing is to be recovered: this manager has its address, and its swarm has a leader; " +
		"`crawlbox status` says what else may be wrong")
	ErrLocked = errors.New("the swarm of this machine is locked; unlock it with `docker swarm unlock` first")
)

// Plan is what is to be done.
type Plan struct {
	InPlace bool
	Why     string // what is wrong, in a sentence without its end
	What    string // what becomes of the cluster, the same
}

// Decide returns what is to be done, or why nothing is.
func (s Situation) Decide() (Plan, error) {
	leads, state := s.Nodes != nil, s.Swarm.State
	switch {
	case state == swarm.StateLocked:
		return Plan{}, ErrLocked
	case state == swarm.StateActive && !s.Swarm.Manager:
		return Plan{}, errors.New("Swarm has this machine as a worker: run `crawlbox recover` on a manager; where " +
			"none is left, restore the cluster on a bare server with `crawlbox install manager --restore`")
	case leads && s.Moved == nil:
		return Plan{}, ErrNothing
	case leads && len(s.Others) > 0:
		return Plan{}, fmt.Errorf("%s; the cluster has other managers (%s), so this one alone has to change: demote "+
			"it there with `crawlbox node demote %s`, run `crawlbox leave` here, join again and promote it",
			s.Moved.Text(), list(s.Others), s.Name)
	case !leads && s.majority():
		answer, away := s.split()
		return Plan{}, fmt.Errorf("most of the managers are there, so nothing is to be recovered: %s, and the swarm "+
			"has no leader; start Docker and crawlbox on %s%s", says(answer, "answers", "answer"), list(answer),
			unless(away))
	case s.AddrErr != nil:
		return Plan{}, s.AddrErr
	}
	if first := s.first(); !leads && first != nil {
		return Plan{}, fmt.Errorf("%s answers as well, and only one manager may go on: run `crawlbox recover` there, "+
			"or switch that machine off first where it is not to be the one", *first)
	}
	return s.plan(), nil
}

// first returns the manager that goes on where several answer, nil where that is this one.
func (s Situation) first() *Manager {
	answer, _ := s.split()
	answer = slices.DeleteFunc(answer, func(m Manager) bool { return !m.Addr.Less(s.Addr) })
	if len(answer) == 0 {
		return nil
	}
	m := slices.MinFunc(answer, func(a, b Manager) int { return a.Addr.Compare(b.Addr) })
	return &m
}

// DecideQueue returns what is to be done where the home of the queue is gone for good, and this manager is to have
// an empty one, or why nothing is. That home must not come back with its queue, so that it has to be off the list.
func (s Situation) DecideQueue() (Plan, error) {
	there := slices.IndexFunc(s.Nodes, func(n fleet.Node) bool {
		addr, err := netip.ParseAddr(n.Addr)
		return err == nil && s.Queue.IsValid() && addr.Unmap() == s.Queue && n.ID != s.Swarm.NodeID
	})
	switch {
	case s.Nodes == nil:
		return Plan{}, errors.New("this node manages no swarm that has a leader; run `crawlbox recover` without " +
			"--queue first, or the same on a manager")
	case s.Home == s.Name && s.On:
		return Plan{}, errors.New("this manager has the cluster's queue; `crawlbox status` says what may be wrong " +
			"with it")
	case s.Home == s.Name:
		return Plan{}, errors.New("this manager has the cluster's queue, which is off in the config file here; write " +
			"`queue: {}` into that and start crawlbox again")
	case s.Home != "":
		return Plan{}, fmt.Errorf("%s has the cluster's queue; where it is gone for good, take it off the list first "+
			"with `crawlbox node demote %[1]s` and `crawlbox node rm %[1]s`, and what was in the queue is lost", s.Home)
	case there >= 0:
		return Plan{}, fmt.Errorf("%s had the cluster's queue, and is a node still; take it off the list first with "+
			"`crawlbox node rm %[1]s`", s.Nodes[there].Display)
	case s.AddrErr != nil:
		return Plan{}, s.AddrErr
	case !s.On:
		return Plan{}, errors.New("the queue is off in the config file here; write `queue: {}` into that first")
	}
	what := fmt.Sprintf("this manager (%s) has an empty one; services reach it once they are restarted", s.Name)
	if s.Copy != nil {
		what = fmt.Sprintf("this manager (%s) has it %s, and what came since is lost; services reach it once they are "+
			"restarted", s.Name, s.Copy)
	}
	return Plan{Why: "no manager has the cluster's queue", What: what}, nil
}

func unless(away []Manager) string {
	if len(away) == 0 {
		return ""
	}
	return fmt.Sprintf("; where they are broken for good, switch them off as well as %s", list(away))
}

// majority reports whether the machines of more than half of the managers are there, with this one.
func (s Situation) majority() bool {
	answer, _ := s.split()
	return len(s.Others) > 0 && len(answer)+1 > (len(s.Others)+1)/2
}

// split returns the other managers that answer, and those that do not.
func (s Situation) split() (answer, away []Manager) {
	for _, m := range s.Others {
		if m.Answers {
			answer = append(answer, m)
		} else {
			away = append(away, m)
		}
	}
	return answer, away
}

func (s Situation) plan() Plan {
	p := Plan{InPlace: s.Moved == nil && s.Swarm.State == swarm.StateActive && s.Swarm.Manager}
	var why []string
	if s.Moved != nil {
		why = append(why, s.Moved.Text())
	}
	if _, away := s.split(); len(away) > 0 {
		why = append(why, fmt.Sprintf("of %d managers %s, and without more than half of them nothing can be changed",
			len(s.Others)+1, says(away, "does not answer", "do not answer")))
	}
	if len(why) == 0 {
		why = append(why, fmt.Sprintf("Docker is in no swarm that works (it is %s)", s.Swarm.State))
	}
	p.Why = strings.Join(why, "; ")
	what := "all nodes leave the swarm and follow this manager, at " + s.Addr.String() + ", into a new one, and " +
		"the services start there again; images, queue, join tokens and history stay"
	if p.InPlace {
		what = fmt.Sprintf("this manager (%s) goes on as the only one: what runs on other nodes runs on, what runs "+
			"here is killed and starts again", s.Name)
	}
	if len(s.Others) > 0 {
		what += fmt.Sprintf("; what only the others know is lost, as changes after %s may be, and they stand down "+
			"when they wake up. If they are only cut off they may still be at work: then mend the network instead",
			s.Time.Local().Format(time.DateTime))
	}
	if s.Queue.IsValid() && s.Home != "" && s.Home != s.Name {
		is := "an empty one"
		if s.Copy != nil {
			is = "it " + s.Copy.String()
		}
		what += fmt.Sprintf("; the queue, which %s has, is lost with it: here is %s once `queue: {}` is in "+
			"the config file, and services reach it once they are restarted", s.Home, is)
	}
	p.What = what
	return p
}

func list(all []Manager) string {
	var names []string
	for _, m := range all {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}

// says returns a sentence about managers.
func says(all []Manager, one, more string) string {
	if len(all) == 1 {
		return list(all) + " " + one
	}
	return list(all) + " " + more
}

// others returns the managers beside this one, by what the state and Swarm have of them.
func others(self string, own netip.Addr, replicas []replica.Replica, nodes []fleet.Node, info swarm.Info) []Manager {
	var found []Manager
	add := func(m Manager) {
		m.Addr = m.Addr.Unmap()
		same := func(o Manager) bool { return m.ID != "" && o.ID == m.ID || m.Addr.IsValid() && o.Addr == m.Addr }
		if m.ID == self && self != "" || m.Addr == own || slices.ContainsFunc(found, same) {
			return
		}
		found = append(found, m)
	}
	if nodes != nil {
		for _, n := range nodes {
			if addr, err := netip.ParseAddr(n.Addr); err == nil && n.Role == fleet.RoleManager {
				add(Manager{ID: n.ID, Name: n.Name, Addr: addr})
			}
		}
		return found
	}
	for _, r := range replicas {
		add(Manager{ID: r.Node, Name: r.Name, Addr: r.Addr})
	}
	for _, m := range info.Managers {
		add(Manager{Addr: m.Addr()})
	}
	return found
}
