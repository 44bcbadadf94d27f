package fleet

import "fmt"

// Managers counts those that keep the cluster able to change.
type Managers struct {
	All     int
	Up      int // that answer
	Workers int // that could be promoted
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
		}
		m.All++
	}
	return m
}

// Spare returns how many managers may be lost before nothing can be changed: fewer than 0, nothing can now.
func (m Managers) Spare() int { return m.Up - (m.All/2 + 1) }

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
