package appliance_test

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// running are the parts of the tree whose log is a running node's.
var running = []string{
	"appliance/agent", "appliance/audit", "appliance/cluster", "appliance/control", "appliance/controller",
	"appliance/deploy", "appliance/logkeeper", "appliance/logstore", "appliance/node", "appliance/queueproc",
	"appliance/upgrade", "appliance/valkey", "appliance/watch", "embedded", "systemd/notify",
}

// Why no problem of the status tells of a warning.
const (
	moment  = "what it says is over by then: there is nothing to do about it, or it is told where it was asked for"
	elapses = "it is tried again by itself, soon"
	seen    = "what it comes of is told: Docker away, the disk full, a node that does not answer"
	another = "it says what somebody else did, who is told"
)

// warnings are all that a running node warns of in its log, with the kind of the problem in the
// status that tells of it, or why there is none: what lasts has to be seen without the log.
var warnings = map[string]string{
	// Of the cluster and its nodes.
	"another node has this machine's host name; give one of them a name of its own with `hostnamectl set-hostname " +
		"NAME` and restart its Docker and crawlbox": api.SameNames,
	"the Docker Engine does not answer; waiting for it":                   api.DockerHere,
	"starting without Docker; waiting for it":                             api.DockerHere,
	"failed to renew the certificate":                                     api.CertificateEnds,
	"failed to follow Swarm's nodes; will retry":                          elapses,
	"failed to look after a run":                                          elapses,
	"failed to compare the managers that have the cluster's state":        elapses,
	"failed to tell nodes where the others are":                           elapses,
	"failed to tell the other nodes about this one":                       elapses,
	"failed to use new gossip keys":                                       moment,
	"failed to change the gossip key":                                     elapses,
	"nodes did not take the new gossip key in time":                       api.NodeDown,
	"the manager could not take this node off its list":                   moment,
	"this node's identity cannot be read, so no manager was told":         moment,
	"this manager leaves without Swarm's consent":                         seen,
	"failed to clean up after the join":                                   moment,
	"failed to answer a node":                                             another,
	"failed to bring crawlbox onto a machine":                             another,
	"failed to close the registry":                                        moment,
	"put aside a damaged file of the version before":                      moment,
	"a document of the cluster's state was damaged":                       moment,
	"files beside the cluster's state are not as that has them":           moment,
	"failed to write the files for the version before":                    seen,
	"failed to upgrade this node":                                         api.UpgradeFailed,
	"the upgrade of this node was taken back":                             api.UpgradeFailed,
	"resuming an interrupted upgrade":                                     api.UpgradeFailed,
	"this machine's clock is ":                                            api.MachineUnfit,
	"failed to follow the cluster's state; reads go on with what is here": api.StateBehind,

	// Of services.
	"no logs of tasks are kept here":                                      seen,
	"removing a file of logs that can't be read":                          moment,
	"failed to remove old logs":                                           seen,
	"failed to record that a service has changed":                         seen,
	"failed to write the history of deploys":                              seen,
	"failed to keep the spec of a service":                                seen,
	"failed to slow down the restarts of a failing service":               api.ServiceFailing,
	"failed to kill containers; they end when their grace period is over": moment,
	"failed to follow the removal of a service":                           elapses,
	"the config file is broken; the state before it stays":                api.FileBroken,
	"failed to apply the config":                                          api.FileNotApplied,
	"service ":                                                            api.FileNotApplied,
	"an audit record is only here: the disk of the audit log hangs":       api.AuditLog,
	"failed to write the audit log":                                       api.AuditLog,

	// Of the queue.
	"the manager starts this command, nobody else":                         moment,
	"the queue goes on with the certificate that it has":                   api.CertificateEnds,
	"failed to renew the queue's certificate":                              api.CertificateEnds,
	"the queue does not run; all else does":                                api.QueueDown,
	"the queue's engine can't be used":                                     api.QueueDown,
	"this node does not have the queue for all of its own programs":        api.QueueFront,
	"failed to keep the queue's Valkey as it should be; it is tried again": api.QueueDown,
	"the queue's replica does not acknowledge: writes wait":                api.QueueAlone,
	"Swarm does not start a part of the queue; it is told to":              api.QueueAlone,
	"the queue's process lacks a part of its sandbox":                      api.QueueSandbox,
	"the queue's process logs more than is kept":                           moment,
	"the queue's process asked what it can't be told":                      another,
	"the queue cannot write to disk and refuses writes until it can":       api.QueueDisk,
	"failed to rewrite the queue's journal; it stays as it is and grows":   elapses,
	"failed to delete old files of the queue":                              elapses,
	"the queue's last record was cut off and is dropped":                   moment,
	"internal error in a command that reads":                               another,
	"internal error: the queue's memory can no longer be trusted":          api.QueueDown,
	"the queue failed to accept a client":                                  moment,
	"wrong password for the queue":                                         another,
	"a client was cut off: ":                                               another,

	"another manager is the home of the queue now; this one stands down":                  api.QueueTaken,
	"failed to stand down as the home of the queue":                                       api.QueueDown,
	"failed to remain the home of the queue":                                              api.QueueDown,
	"this remains the home of the queue: another manager was to be it, and has not begun": moment,
	"failed to tell nodes where the queue is":                                             elapses,
	"another manager is to be the home of the queue: the one before is gone":              api.QueueTaken,
	"this manager is the home of the queue now: the one before is gone":                   api.QueueTaken,

	// Of images.
	"a client without credentials is refused at the registry": another,
	"refused a push":                         another,
	"push failed":                            api.DiskFull,
	"failed to clean up after a failed push": moment,
	"found an image without a manifest":      moment,
	"removed image cannot be read; its space is free after the grace":                     moment,
	"failed to have Docker trust the registry of a manager":                               moment,
	"failed to write a tag to the registry's directory; the tag stands":                   moment,
	"failed to note that the registry's tags are in step":                                 moment,
	"it is not known whether a version before has changed the registry's tags":            moment,
	"mirror broke off an answer":                                                          elapses,
	"mirror failed to answer":                                                             elapses,
	"mirror failed to keep a blob":                                                        seen,
	"mirror failed to keep a manifest":                                                    seen,
	"mirror received a blob with the wrong digest":                                        elapses,
	"mirror received a manifest with the wrong digest":                                    elapses,
	"mirror drops a damaged file; check the disk":                                         moment,
	"mirror drops a part of a pinned image, as nothing else is left to make room; raise ": moment,
	"mirror no longer knows which images are pinned; the next deploys pin theirs":         moment,
	"mirror failed to record which images are pinned":                                     seen,
	"an answer to another node failed":                                                    elapses,
	"a node sent wrong bytes":                                                             elapses,

	// Of crawlbox itself.
	"nothing was recovered: ":                                                   moment,
	"failed to pass connections to the queue on":                                seen,
	"failed to learn which container a client is in; its items go back with ":   elapses,
	"failed to give back items that were popped":                                elapses,
	"items can't be given back, since a client ":                                elapses,
	"failed to make a manager a worker after the move of the queue; will retry": seen,
	"failed to note that a move of the queue is over":                           moment,
	"failed to remove what is of the cluster":                                   moment,
	"crawlbox answers itself late: this machine is overloaded":                  elapses,
	"crawlbox does not answer itself; systemd restarts it unless it does soon":  elapses,
	"systemd's watchdog is set to something that cannot be understood":          moment,
}

// TestEveryWarning finds each warning of a running node in the list.
func TestEveryWarning(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	eachFile(t, func(path string) {
		if !slices.ContainsFunc(running, func(dir string) bool { return below(filepath.ToSlash(path), dir) }) {
			return
		}
		eachCall(t, path, func(call *ast.CallExpr) {
			message := warning(call)
			if message == nil {
				return
			}
			text, known := literal(message)
			if !known {
				return // what was worded elsewhere
			}
			for message := range warnings {
				if strings.HasPrefix(text, message) {
					found[message] = true
					return
				}
			}
			t.Errorf("%s warns %q: say in the list which problem of the status tells of it, or why none has to", path,
				text)
		})
	})
	for message, is := range warnings {
		if !found[message] {
			t.Errorf("nothing warns %q any longer: take it off the list", message)
		}
		reasons := []string{moment, elapses, seen, another}
		if !slices.Contains(api.Kinds, is) && !slices.Contains(reasons, is) {
			t.Errorf("%q is told by %q, which is no kind of problem", message, is)
		}
	}
}

// warning returns the message of a call that warns; nil: it does not.
func warning(call *ast.CallExpr) ast.Expr {
	method, ok := call.Fun.(*ast.SelectorExpr)
	switch {
	case !ok:
		return nil
	case method.Sel.Name == "logOnce" && len(call.Args) > 2: // of package services
		return call.Args[2]
	case len(call.Args) == 0 || method.Sel.Name != "Warn" && method.Sel.Name != "Error":
		return nil
	}
	switch logger := method.X.(type) {
	case *ast.Ident:
		if logger.Name == "log" {
			return call.Args[0]
		}
	case *ast.SelectorExpr:
		if strings.EqualFold(logger.Sel.Name, "log") {
			return call.Args[0]
		}
	}
	return nil
}

// literal returns the text of an expression up to what is not written there.
func literal(e ast.Expr) (text string, known bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, known := literal(e.X)
		right, all := literal(e.Y)
		if known && all {
			return left + right, true
		}
		return left, known
	}
	return "", false
}
