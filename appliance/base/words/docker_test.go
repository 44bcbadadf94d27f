package words_test

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// TestDocker puts what Swarm and Docker said, as they said it, in words.
func TestDocker(t *testing.T) {
	t.Parallel()
	const gone = "its container is gone: it was removed, or Docker was restarted"
	const refused = "Error response from daemon: rpc error: code = InvalidArgument desc = "
	for said, want := range map[string]string{
		refused + "invalid memory value 1048576: Must be at least 4MiB": "1MiB of memory is too little: " +
			"Swarm reserves 4MiB or more, and Docker limits to 6MiB or more",
		refused + "invalid cpu value 0.0001: Must be at least 0.001": "0.0001 processors are too few for " +
			"Swarm: write 0.001 or more",
		refused + "ContainerSpec: duplicate mount point: /data": "two mounts have the target /data: give each its own",
		refused + `port '80' is already in use by service 'web' (wp0c8nrbycd61vfyqsi0sk5vf) as an ingress port`: "service " +
			"web publishes port 80 already",
		refused + `expanding env failed: expanding env "PASSWORD={{secret": template: expansion:1: unclosed action`: "a " +
			`{{ in environment begins one of Swarm's templates, and Swarm does not understand it: ` + words.BracesRemedy,
		refused + `ContainerSpec: Interval in HealthConfig cannot be less than 1ms`: "interval of the health check is " +
			"too short for Swarm: write 1ms or more",
		refused + "TaskSpec: update-delay cannot be negative": "update-delay cannot be negative",
		"rpc error: code = Unknown desc = key 'node.x>' is invalid": "Swarm does not take the key \"node.x>\" in a " +
			"constraint: write one such as node.labels.disk==ssd",
		`rpc error: code = Unknown desc = constraint expected one operator from ==, !=`: "a constraint has neither == " +
			"nor !=: write one such as node.labels.disk==ssd",
		`rpc error: code = AlreadyExists desc = name conflicts with an existing object: service spider already exists`: "service " +
			"spider already exists",
		`rpc error: code = AlreadyExists desc = name conflicts with an existing object`: "one of this name exists already",
		"rpc error: code = Unimplemented desc = service mode change is not allowed": "Swarm does not change the mode " +
			"of a service: remove it with `crawlbox rm`, and deploy it again",
		"network back not found": "there is no network back: make it with `docker network create -d overlay back`",
		"rpc error: code = DeadlineExceeded desc = context deadline exceeded": "Swarm did not answer in time",
		"rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)": "it is larger " +
			"than Swarm takes",
		`update paused due to failure or early termination of task wp0c8nrbycd61vfyqsi0sk5vf`: "update paused because " +
			"a task failed or ended early",
		"Minimum memory limit allowed is 6MB": "the memory limit is too small for Docker: write 6MiB or more",
		"write /x: no space left on device": "write /x: no space left on device; that machine's disk is full: make " +
			"room on it, `docker system df` there shows what of Docker takes it",
		"No such container: spider.1.uc0slilm201ofqs79lnqeac2p":                       gone,
		"No such container: each.vcykgia55l3nfrjbut5znltdz.uc0slilm201ofqs79lnqeac2p": gone,
		"task: non-zero exit (1)": "exit code 1",
		"two\n lines":             "two lines",
	} {
		got := words.Docker(said)
		if got != want {
			t.Errorf("%s\nis put as %s\nwant       %s", said, got, want)
		}
		if raw := append(testenv.Raw(got), testenv.RawIDs(got)...); len(raw) > 0 {
			t.Errorf("%s: %q is left", said, raw)
		}
	}
}
