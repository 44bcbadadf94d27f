package pki

import (
	"errors"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// A node is refused, or refuses to go on, with one of these. Each says what to do.
var (
	ErrNotAllowed = errors.New("this node's certificate does not allow that")
	ErrRemoved    = errors.New("this node was removed from the cluster: run `crawlbox leave` on it, and join again " +
		"with " + naming.JoinAgain + " if it shall come back")
	ErrOutdated = errors.New("this node's certificate is older than the cluster accepts: it gets another one from " +
		"the manager by itself, if it is a node of the cluster still")
	ErrOtherCluster = errors.New("this machine is a node of another cluster: run `crawlbox leave` first, then the " +
		"same command again")
	ErrOtherRole = errors.New("this machine is in this cluster already, with another role: use `crawlbox node " +
		"promote` or `demote` on a manager")
	ErrNotJoined = errors.New("this machine is not a node of a cluster: run " + naming.JoinAgain)
)
