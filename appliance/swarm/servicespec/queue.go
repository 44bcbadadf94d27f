package servicespec

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Variables by which a service knows the cluster's queue. Programs look for the first by
// habit; the last is there where the queue speaks TLS.
const (
	redisURL = "REDIS_URL"
	queueURL = compose.QueueVariable
	queueCA  = "CRAWLBOX_QUEUE_CA"
)

// QueueHost is a name of the queue that is right on every node: each service that is told of it has it among its hosts.
// Names below .internal are nobody's.
const QueueHost = "queue.crawlbox.internal"

// Queue is what services are told of the cluster's queue.
type Queue struct {
	URL string // with the password; empty: there is none
	CA  string // of its certificate, in PEM; empty: it does not speak TLS
	// Other is a URL that is right as well: a service that knows it is not changed for that alone. Empty: none is.
	Other string
	// Image is the environment of the service's image: what it sets is left alone.
	Image []string
}

// Local returns the queue by the name that is right on every node.
func (q Queue) Local() Queue {
	if at, err := url.Parse(q.URL); err == nil && q.URL != "" {
		at.Host = net.JoinHostPort(QueueHost, at.Port())
		q.URL = at.String()
	}
	return q
}

// isLocal reports whether an environment names the queue so.
func isLocal(env []string) bool {
	return slices.ContainsFunc(env, func(v string) bool { return strings.Contains(v, "@"+QueueHost) })
}

// nameQueue has a container find the queue by its name where env has that. Docker knows the machine from inside of its
// networks, but for those on the machine's own, where it would hide who connects. What a person has for the name stays.
func (d Deployment) nameQueue(s *swarm.ServiceSpec) {
	c, own := s.TaskTemplate.ContainerSpec, false
	c.Hosts = slices.DeleteFunc(slices.Clone(c.Hosts), func(line string) bool {
		at, names, _ := strings.Cut(line, " ")
		if !slices.Contains(strings.Fields(names), QueueHost) {
			return false
		}
		own = own || at != loopback && at != gateway
		return at == loopback || at == gateway
	})
	if own || !isLocal(c.Env) {
		return
	}
	at := gateway
	if d.OnHost || slices.ContainsFunc(s.TaskTemplate.Networks, isHost) {
		at = loopback
	}
	c.Hosts = append(c.Hosts, at+" "+QueueHost)
}

const (
	loopback = "127.0.0.1"
	gateway  = "host-gateway" // Docker's word for the machine
)

func isHost(n swarm.NetworkAttachmentConfig) bool { return n.Target == HostNetwork }

// In returns what a service is told whose image has an environment.
func (q Queue) In(image []string) Queue {
	q.Image = image
	return q
}

// Mark returns what fleet.LabelQueue says of a service that knows the queue: a change of
// its address or password shows in it, and neither can be read from it.
func (q Queue) Mark() string {
	if q.URL == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(q.URL))
	return hex.EncodeToString(sum[:8])
}

// TellQueue completes a service that was brought to the deployment with the URL of the
// queue, unless it sets the variables itself. before is what the service was.
//
// One that was never told is left as it is where nothing else of its tasks changes, so
// that they are not replaced for that alone, and where it goes back to what it was.
func (d Deployment) TellQueue(s *swarm.ServiceSpec, before Plain) error {
	if d.Queue == nil || s.TaskTemplate.ContainerSpec == nil {
		return nil
	}
	if as := (Queue{URL: d.Queue.Other}); as.URL != "" && s.Labels[fleet.LabelQueue] == as.Mark() {
		other, c := *s, *s.TaskTemplate.ContainerSpec
		other.TaskTemplate.ContainerSpec, other.Labels = &c, maps.Clone(s.Labels)
		as.CA, as.Image = d.Queue.CA, d.Queue.Image
		if err := d.tell(as, &other, before); err != nil {
			return err
		}
		after, err := PlainOf(other)
		if err != nil {
			return err
		}
		if before.SameTasks(after) {
			*s = other
			return nil
		}
	}
	return d.tell(*d.Queue, s, before)
}

func (d Deployment) tell(q Queue, s *swarm.ServiceSpec, before Plain) error {
	c := s.TaskTemplate.ContainerSpec
	env := slices.Clone(c.Env)
	if name := usesQueue(env); name != "" && q.URL == "" && d.Definition != nil {
		return d.Definition.Errorf("environment."+name, "${%s} stands for the queue, which is off; put `queue: {}` "+
			"into crawlbox.yaml and restart crawlbox, or take it out", queueURL)
	}
	for i := range env {
		env[i] = strings.ReplaceAll(env[i], compose.QueuePlaceholder, q.URL)
	}
	told := s.Labels[fleet.LabelQueue]
	c.Env = q.renew(env, told)
	if told == "" {
		after, err := PlainOf(*s)
		if err != nil || d.Spec != nil || before.SameTasks(after) {
			return err
		}
	}
	c.Env = q.add(c.Env)
	d.nameQueue(s)
	delete(s.Labels, fleet.LabelQueue)
	if q.knownIn(c.Env) {
		setLabel(s, fleet.LabelQueue, q.Mark())
	}
	return nil
}

// usesQueue returns the name of a variable whose value has the placeholder.
func usesQueue(env []string) string {
	for _, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); strings.Contains(value, compose.QueuePlaceholder) {
			return name
		}
	}
	return ""
}

// renew brings an environment that was told of the queue before, as the label told says,
// to the queue of now. What was derived of the URL follows it.
func (q Queue) renew(env []string, told string) (renewed []string) {
	old := ""
	for _, variable := range env {
		if _, value, _ := strings.Cut(variable, "="); told != "" && (Queue{URL: value}).Mark() == told {
			old = value
		}
	}
	if old == "" {
		return env
	}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		if name == queueCA && value != q.CA || q.URL == "" && value == old {
			continue
		}
		renewed = append(renewed, strings.ReplaceAll(variable, old, q.URL))
	}
	return renewed
}

// add appends the variables that neither the service nor its image sets.
func (q Queue) add(env []string) []string {
	if q.URL == "" {
		return env
	}
	own := variableNames(env, q.Image)
	for _, variable := range []string{queueURL + "=" + q.URL, queueCA + "=" + q.CA, redisURL + "=" + q.URL} {
		name, value, _ := strings.Cut(variable, "=")
		if value != "" && !own[name] {
			env = append(env, variable)
		}
	}
	return env
}

func variableNames(envs ...[]string) map[string]bool {
	names := map[string]bool{}
	for _, variable := range slices.Concat(envs...) {
		name, _, _ := strings.Cut(variable, "=")
		names[name] = true
	}
	return names
}

// knownIn reports whether an environment has the URL.
func (q Queue) knownIn(env []string) bool {
	return q.URL != "" && slices.ContainsFunc(env, func(v string) bool { return strings.Contains(v, q.URL) })
}
