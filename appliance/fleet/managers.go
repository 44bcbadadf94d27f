package fleet

import "fmt"

// Managers counts those that keep the cluster able to change.
type Managers struct {
	All     int
	Up      int // that answer
	Workers int // that could be promoted
	State   int // that have the cluster's state; 0: it is not known
	StateUp int // of those, that answer
}

// CountManagers counts those of nodes.
func CountManagers(nodes []Node) (m Managers) {
	for _, n := range nodes {
		switch {
		case n.Role != RoleManager:
			m.Workers++
			continue
		case n.State == StateReady:
			m.Up++
			if n.HasState {
				m.StateUp++
			}
		}
		if n.HasState {
			m.State++
		}
		m.All++
	}
	return m
}

// Spare returns how many managers may be lost before nothing can be changed: fewer than 0, nothing can now. Swarm
// needs a majority of all, and the cluster's state one of those that have it.
func (m Managers) Spare() int {
	if spare := m.StateUp - (m.State/2 + 1); m.State > 0 {
		return min(spare, m.swarmSpare())
	}
	return m.swarmSpare()
}

func (m Managers) swarmSpare() int { return m.Up - (m.All/2 + 1) }

// waits reports whether more could be lost if all managers had the cluster's state.
func (m Managers) waits() bool { return m.State > 0 && m.State < m.All && m.Spare() < m.swarmSpare() }

// NextLoss returns how many there are and what the loss of one more would mean; empty: there is none.
func (m Managers) NextLoss() string {
	switch {
	case m.All == 0:
		return ""
	case m.Up < m.All:
		return fmt.Sprintf("%d of %d managers answer: %s", m.Up, m.All, m.Loss())
	case m.All == 1:
		return "1 manager: " + m.Loss()
	}
	return fmt.Sprintf("%d managers: %s", m.All, m.Loss())
}

// Loss returns what the loss of one more manager would mean, and what to do about it.
func (m Managers) Loss() string {
	switch spare := m.Spare(); {
	case m.waits() && m.State == 1:
		return "only 1 has the cluster's state so far, and if that fails no change is possible; the others get it by " +
			"themselves where crawlbox runs"
	case m.waits():
		return fmt.Sprintf("only %d have the cluster's state so far, and if more than %d of those fail no change is "+
			"possible; the others get it by themselves where crawlbox runs", m.State, max(spare, 0))
	case spare < 0:
		return fmt.Sprintf("nothing can be changed until %d do; start the others", m.All/2+1)
	case m.All == 1:
		return "if it is lost, `crawlbox install manager --restore` on another server brings the cluster back; " +
			m.more("two more")
	case m.All == 2:
		return "if either fails, no change is possible, so that two are worse than one; " + m.more("a third") +
			", or demote one with `crawlbox node demote`"
	case spare == 0:
		return "if one more fails, no change is possible; bring the others back, or take off the list what is gone " +
			"with `crawlbox node demote`"
	case m.Up < m.All:
		return fmt.Sprintf("%d more may fail; bring the others back", spare)
	case m.All%2 == 0:
		return fmt.Sprintf("%d may fail, as of %d; %s, or demote one with `crawlbox node demote`", spare, m.All-1,
			m.more("one more"))
	default:
		return fmt.Sprintf("%d may fail", spare)
	}
}

// more says how there are so many managers more.
func (m Managers) more(text string) string {
	if m.Workers == 0 {
		return "add " + text + " with the line that `crawlbox token manager` prints"
	}
	return "promote " + text + " with `crawlbox node promote`"
}
