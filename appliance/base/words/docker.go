package words

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// What Docker and Swarm put before the cause of a failure, and the IDs that they call things by
// beside their names, such as the container spider.1.ID. One that stands for a name stays: it may
// be asked for.
var (
	dockerNoise = regexp.MustCompile(
		`(rpc error: code = \w+ desc = |Error response from daemon: |error from daemon in stream: |ContainerSpec: |TaskSpec: )`)
	dockerIDs = regexp.MustCompile(` \([0-9a-z]{25}\)|\.[0-9a-z]{25}\b`)
)

// dockers are causes that Swarm's managers and Docker name for who knows their sources, each with
// what is to be done about it. From controlapi and constraint in swarmkit, and from moby's daemon.
var dockers = []struct {
	says *regexp.Regexp
	say  func(parts []string) string
}{
	{regexp.MustCompile(`invalid cpu value (\S+): Must be at least (\S+)`), func(m []string) string {
		return m[1] + " processors are too few for Swarm: write " + m[2] + " or more"
	}},
	{regexp.MustCompile(`invalid memory value (\d+): Must be at least 4MiB`), func(m []string) string {
		return size(m[1]) + " of memory is too little: Swarm reserves " +
			units.BytesSize(float64(bound.LeastReserved)) + " or more, and Docker limits to " +
			units.BytesSize(float64(bound.LeastMemory)) + " or more"
	}},
	{regexp.MustCompile(`Minimum memory limit allowed is (\d+)MB`), func(m []string) string {
		return "the memory limit is too small for Docker: write " + m[1] + "MiB or more"
	}},
	{regexp.MustCompile(`(key|value) '([^']*)' is invalid`), func(m []string) string {
		return "Swarm does not take the " + m[1] + " " + strconv.Quote(m[2]) + " in a constraint: write one such as " +
			"node.labels.disk==ssd"
	}},
	{regexp.MustCompile(`constraint expected one operator from ==, !=`), func([]string) string {
		return "a constraint has neither == nor !=: write one such as node.labels.disk==ssd"
	}},
	{regexp.MustCompile(`duplicate mount point: (\S+)`), func(m []string) string {
		return "two mounts have the target " + m[1] + ": give each its own"
	}},
	// What follows quotes the value, which may be secret.
	{regexp.MustCompile(`expanding (env|mounts|hostname) failed: .*`), func(m []string) string {
		where := map[string]string{"env": "environment", "mounts": "volumes", "hostname": "hostname"}[m[1]]
		return "a {{ in " + where + " begins one of Swarm's templates, and Swarm does not understand it: " +
			BracesRemedy
	}},
	{regexp.MustCompile(`(Interval|Timeout|StartPeriod) in HealthConfig cannot be less than (\S+)`),
		func(m []string) string {
			is := map[string]string{"Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period"}[m[1]]
			return is + " of the health check is too short for Swarm: write " + m[2] + " or more"
		}},
	{regexp.MustCompile(`name conflicts with an existing object(: )?`), func(m []string) string {
		if m[1] == "" {
			return "one of this name exists already"
		}
		return ""
	}},
	{regexp.MustCompile(`service mode change is not allowed`), func([]string) string {
		return "Swarm does not change the mode of a service: remove it with `crawlbox rm`, and deploy it again"
	}},
	{regexp.MustCompile(`network (\S+) not found`), func(m []string) string {
		return "there is no network " + m[1] + ": make it with `docker network create -d overlay " + m[1] + "`"
	}},
	{regexp.MustCompile(`port '(\d+)' is already in use by service '([^']*)'( as an? \S+ port)?`),
		func(m []string) string { return "service " + m[2] + " publishes port " + m[1] + " already" }},
	{regexp.MustCompile(`(task: )?non-zero exit \((\d+)\)`), func(m []string) string { return "exit code " + m[2] }},
	{regexp.MustCompile(`No such container: \S+`), func([]string) string {
		return "its container is gone: it was removed, or Docker was restarted"
	}},
	{regexp.MustCompile(`due to failure or early termination of task \w+`), func([]string) string {
		return "because a task failed or ended early"
	}},
	{regexp.MustCompile(`no space left on device.*`), func(m []string) string {
		return m[0] + "; that machine's disk is full: make room on it, `docker system df` there shows what of Docker " +
			"takes it"
	}},
	{regexp.MustCompile(`grpc: received message larger than max.*`), func([]string) string {
		return "it is larger than Swarm takes"
	}},
	{regexp.MustCompile(`DeadlineExceeded: context deadline exceeded`), func([]string) string {
		return "Swarm did not answer in time"
	}},
}

// BracesRemedy says what to write for {{.
const BracesRemedy = "write one such as {{.Node.Hostname}}, and {{\"{{\"}} for braces that are meant as they are"

// Docker returns what Docker or Swarm says of an error or a task in one line and in plain words,
// without what their programs put before it.
func Docker(text string) string {
	text = strings.ReplaceAll(OneLine(text), "rpc error: code = DeadlineExceeded desc = ", "DeadlineExceeded: ")
	text = dockerIDs.ReplaceAllString(dockerNoise.ReplaceAllString(text, ""), "")
	for _, d := range dockers {
		text = d.says.ReplaceAllStringFunc(text, func(found string) string {
			return d.say(d.says.FindStringSubmatch(found))
		})
	}
	return text
}

func size(bytes string) string {
	n, err := strconv.ParseFloat(bytes, 64)
	if err != nil {
		return bytes + " bytes"
	}
	return units.BytesSize(n)
}
