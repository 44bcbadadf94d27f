// Package failpoint names the moments at which a power cut would hurt most, so
// that a test can cut the power there: with the build tag failpoints, a process
// whose environment has CRAWLBOX_FAILPOINT=NAME kills itself at the point of
// that name. At others a part of a node hangs, while the file that
// CRAWLBOX_HANG=FILE names has the name of the point in it. In every other build,
// which is all that users have, a point is nothing.
package failpoint

// Point is one such moment.
type Point string

// Points of a node that joins, in the order it passes them.
const (
	JoinStarted     Point = "join-started"      // the journal says so, no manager was asked
	JoinKey         Point = "join-key"          // the node has its key
	JoinAnswered    Point = "join-answered"     // a manager gave a certificate, which is not on disk
	JoinIdentity    Point = "join-identity"     // it is on disk, the journal does not say so
	JoinCertified   Point = "join-certified"    // the journal says so
	JoinDocker      Point = "join-docker"       // Docker is in the swarm, the journal does not say so
	JoinSwarmJoined Point = "join-swarm-joined" // the journal says so
	JoinTrust       Point = "join-trust"        // Docker trusts the registry
	JoinDone        Point = "join-done"         // the journal says so
)

// Points of the manager that lets it in.
const (
	GrantUsed   Point = "grant-used"   // the token has one use less, there is no certificate
	GrantSigned Point = "grant-signed" // the certificate is on the list, the node did not hear of it
)

// Points of the manager that removes a node and changes the key of gossip.
const (
	RemoveBegun   Point = "remove-begun"   // written down that it is removed, nothing was done
	RemoveRefused Point = "remove-refused" // its certificate is refused, Swarm still has it
	RemoveTokens  Point = "remove-tokens"  // Swarm's tokens are others, the journal does not say so
	RemoveSwarm   Point = "remove-swarm"   // Swarm has it no longer, the journal does not say so
	Demoted       Point = "demoted"        // Swarm has it as a worker, Swarm's tokens are the same
	KeysAdded     Point = "keys-added"     // the new key is known, the old one in use
	KeysUsed      Point = "keys-used"      // the new key is in use, the old one still good
)

// Points of a node that leaves.
const (
	LeaveDocker  Point = "leave-docker"  // Docker has left the swarm
	LeaveGoodbye Point = "leave-goodbye" // the manager knows
)

// Points of the manager that deploys.
const (
	DeployUpdate  Point = "deploy-update"  // written down that the service changes, it has not changed
	DeployUpdated Point = "deploy-updated" // it has changed, not written down
)

// Points of the keeper that upgrades a node.
const (
	UpgradeStaged    Point = "upgrade-staged"    // nothing is replaced
	UpgradeReplaced  Point = "upgrade-replaced"  // the program is, the journal does not say so
	UpgradeSwapped   Point = "upgrade-swapped"   // the journal says so, the node was not restarted
	UpgradeReturning Point = "upgrade-returning" // written down that the old program goes back, it has not gone
)

// Join, Grant, Remove, Leave, Deploy and Upgrade list the points by the operation that passes them.
var (
	Join = []Point{
		JoinStarted, JoinKey, JoinAnswered, JoinIdentity, JoinCertified, JoinDocker, JoinSwarmJoined, JoinTrust,
		JoinDone,
	}
	Grant  = []Point{GrantUsed, GrantSigned}
	Remove = []Point{RemoveBegun, RemoveRefused, RemoveTokens, RemoveSwarm, KeysAdded, KeysUsed}
	Leave  = []Point{LeaveDocker, LeaveGoodbye}
	Deploy = []Point{DeployUpdate, DeployUpdated}

	Upgrade = []Point{UpgradeStaged, UpgradeReplaced, UpgradeSwapped, UpgradeReturning}
)

// Parts of a node that can hang.
const (
	HangAPI      Point = "hang-api"
	HangRegistry Point = "hang-registry"
	HangWatch    Point = "hang-watch" // the loop that looks at Docker
)

// Env names the point at which to end, EnvHang the file with those at which to hang,
// EnvCertLife how long certificates of nodes are good and EnvRound how long a loop may
// take for a round, as Go writes durations, and EnvScaling what share of the usual time a
// service is seen before it is scaled. All count with the build tag only.
const (
	Env         = "CRAWLBOX_FAILPOINT"
	EnvHang     = "CRAWLBOX_HANG"
	EnvCertLife = "CRAWLBOX_CERT_LIFE"
	EnvRound    = "CRAWLBOX_ROUND"
	EnvScaling  = "CRAWLBOX_SCALING"
)
