package command

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// ofDocker says what does here what docker's commands of these words do. A word alone stands for
// all of its commands that are not named.
var ofDocker = map[string]string{
	"attach":            "crawlbox logs --follow",
	"compose":           "crawlbox deploy",
	"compose build":     "crawlbox build",
	"compose down":      "crawlbox rm",
	"compose exec":      "crawlbox exec",
	"compose logs":      "crawlbox logs",
	"compose ls":        "crawlbox ls",
	"compose ps":        "crawlbox ps",
	"compose restart":   "crawlbox restart",
	"compose rm":        "crawlbox rm",
	"compose start":     "crawlbox start",
	"compose stop":      "crawlbox stop",
	"container":         "crawlbox ps",
	"container exec":    "crawlbox exec",
	"container inspect": "crawlbox inspect",
	"container kill":    "crawlbox stop --now",
	"container logs":    "crawlbox logs",
	"container restart": "crawlbox restart",
	"container rm":      "crawlbox rm",
	"container run":     "crawlbox deploy",
	"container start":   "crawlbox start",
	"container stop":    "crawlbox stop",
	"cp":                "crawlbox exec --interactive",
	"image":             "crawlbox images",
	"image build":       "crawlbox build",
	"image prune":       "crawlbox images gc",
	"image push":        "crawlbox push",
	"image rm":          "crawlbox images rm",
	"info":              "crawlbox status",
	"kill":              "crawlbox stop --now",
	"login":             "crawlbox registry login",
	"logout":            "crawlbox registry logout",
	"pause":             "crawlbox stop",
	"pull":              "crawlbox deploy",
	"rmi":               "crawlbox images rm",
	"service":           "crawlbox ls",
	"service create":    "crawlbox deploy",
	"service inspect":   "crawlbox inspect",
	"service logs":      "crawlbox logs",
	"service ps":        "crawlbox ps",
	"service rm":        "crawlbox rm",
	"service rollback":  "crawlbox rollback",
	"service scale":     "crawlbox scale",
	"service update":    "crawlbox update",
	"stack":             "crawlbox ls",
	"stack deploy":      "crawlbox deploy",
	"stack ps":          "crawlbox ps",
	"stack rm":          "crawlbox rm",
	"swarm":             "crawlbox status",
	"swarm ca":          "crawlbox ca",
	"swarm init":        "crawlbox install manager",
	"swarm join":        "crawlbox install worker",
	"swarm join-token":  "crawlbox token",
	"swarm leave":       "crawlbox leave",
	"system":            "crawlbox status",
	"system prune":      "crawlbox images gc",
	"tag":               "crawlbox push",
	"unpause":           "crawlbox start",
}

// insteadOf returns docker's command that words which are none here begin with, and what does that
// here; empty: it is none.
func insteadOf(cmd *cobra.Command, words []string) (docker, here string) {
	if cmd.HasParent() {
		return "", ""
	}
	for n := min(2, len(words)); n > 0; n-- {
		docker = strings.Join(words[:n], " ")
		if here = ofDocker[docker]; here != "" {
			return docker, here
		}
	}
	return "", ""
}

// DockerCommands lists docker's commands of which it is known what does the same here.
func DockerCommands() []string { return slices.Sorted(maps.Keys(ofDocker)) }
