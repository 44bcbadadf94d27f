package bound

// The bounds of a service's replicas that several doors share: the command line, the API and the config file. The
// file knows nothing of the cluster, so a bound of the fleet stood there a second time, and the two could come apart.

// The lowest limits of a replica that start: the kernel refuses fewer processors, and Docker less
// memory.
const (
	LeastCPUs         = 0.01
	LeastMemory int64 = 6 << 20 // bytes
)

// LeastReserved is the least memory, in bytes, that Swarm reserves for a replica.
const LeastReserved int64 = 4 << 20

// Bounds for numbers of replicas that are a slip of a finger: Swarm starts any, until no machine
// answers any longer, whose processes they all are.
const (
	MaxReplicas = 20_000 // of a service
	MaxDensity  = 500    // of a service on a node
)
