// Package naming holds one rule each for names that several doors let in: the command
// line, the API, the config file, and what keeps them. Rules of their own at each door let
// in by one what another refuses.
package naming

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Roles of a node, as Swarm names them.
const (
	RoleManager = "manager"
	RoleWorker  = "worker"
)

var (
	// service is Swarm's own rule, see isValidDNSName in moby/swarmkit/manager/controlapi.
	// Without dots, slashes and colons, no service has the name of an image with a tag, or
	// of a file that lies elsewhere.
	service = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[a-zA-Z0-9]+)*$`)
	// tag is the rule of registries.
	tag = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	// account goes into shell lines and Docker's own files.
	account = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
)

// maxService is Swarm's limit for the name of a service.
const maxService = 63

// CheckService returns an error unless a service can have this name.
func CheckService(name string) error {
	if len(name) > maxService || !service.MatchString(name) {
		return fmt.Errorf("%.64q cannot name a service: use at most %d letters, digits, - and _", name, maxService)
	}
	return nil
}

// CheckTag returns an error unless an image can have this tag.
func CheckTag(name string) error {
	if !tag.MatchString(name) {
		return fmt.Errorf("%.64q cannot be a tag: use at most 128 letters, digits, dots and dashes, such as 0.02", name)
	}
	return nil
}

// WithoutAddress returns the name of an image without the registry's address, which is what stands
// before the first slash and has a dot or a colon, or is localhost.
func WithoutAddress(image string) string {
	host, rest, ok := strings.Cut(image, "/")
	if ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return rest
	}
	return image
}

// Tagged returns the one name by which an image of the registry is listed: without an address, and
// with a tag, which is latest where it is left out.
func Tagged(image string) string {
	image = WithoutAddress(image)
	if strings.ContainsAny(image, ":@") {
		return image
	}
	return image + ":latest"
}

// constraint is Swarm's own rule for a placement constraint; see manager/constraint in swarmkit.
var constraint = regexp.MustCompile(`^([A-Za-z_][\w.-]+)\s*(==|!=)\s*([\w:.*()?+\[\]\\^$|/\s-]+)$`)

// constraintKey is what a constraint can name.
var constraintKey = regexp.MustCompile(
	`(?i)^(node\.(id|hostname|ip|role|platform\.os|platform\.arch)|(node|engine)\.labels\..+)$`)

// SplitConstraint reads KEY==VALUE or KEY!=VALUE. Swarm also takes keys that it does not know, and
// then finds no node for them: those are errors here.
func SplitConstraint(text string) (key, operator, value string, err error) {
	parts := constraint.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return "", "", "", errors.New("it is not of the form KEY==VALUE or KEY!=VALUE")
	}
	if !constraintKey.MatchString(parts[1]) {
		return "", "", "", errors.New("its key is none of node.id, node.hostname, node.ip, node.role, " +
			"node.platform.os, node.platform.arch, node.labels.NAME and engine.labels.NAME")
	}
	return parts[1], parts[2], parts[3], nil
}

// CheckAccount returns an error unless an account at the registry can have this name.
func CheckAccount(name string) error {
	if !account.MatchString(name) {
		return fmt.Errorf("%.64q cannot be the name of an account: it has 1 to 32 of a-z, 0-9, '.', '_' and '-', and "+
			"begins with a letter or digit", name)
	}
	return nil
}

// CheckRole returns an error unless a node can have this role.
func CheckRole(role string) error {
	if role != RoleManager && role != RoleWorker {
		return fmt.Errorf("unknown role %.64q; it is worker or manager", role)
	}
	return nil
}
