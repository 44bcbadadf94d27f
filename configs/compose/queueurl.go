package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/configs/document"
)

// QueueVariable names the cluster's queue in a definition, as ${CRAWLBOX_QUEUE_URL}.
const QueueVariable = "CRAWLBOX_QUEUE_URL"

// QueuePlaceholder stands in an environment for the URL of the queue. Who reads the file
// need not know the password, and another password makes no other definition: the URL
// takes its place when the service is deployed.
const QueuePlaceholder = "{crawlbox:queue-url}"

// checkQueueURL refuses the placeholder outside of the environment: values there are
// shown to those who may not see the password.
func (s *Service) checkQueueURL() *document.Error {
	container := s.Compose
	container.Environment = nil
	text, err := json.Marshal(container)
	if err != nil {
		return s.problem("", err.Error())
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return s.problem("", err.Error())
	}
	if place, found := placeOf(QueuePlaceholder, plain); found {
		return s.problem(place, fmt.Sprintf("${%s} is for environment and env_file; a shell in the container knows it "+
			"as $$%s", QueueVariable, QueueVariable))
	}
	return nil
}

// placeOf returns the place of the first value that has the text, such as "command.1".
func placeOf(text string, v any) (place string, found bool) {
	children := map[string]any{}
	switch v := v.(type) {
	case string:
		return "", strings.Contains(v, text)
	case []any:
		for i, item := range v {
			children[strconv.Itoa(i)] = item
		}
	case map[string]any:
		children = v
	}
	for _, name := range slices.Sorted(maps.Keys(children)) {
		if below, found := placeOf(text, children[name]); found {
			return strings.TrimSuffix(name+"."+below, "."), true
		}
	}
	return "", false
}
