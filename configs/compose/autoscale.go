package compose

import (
	"fmt"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

// autoscaleKey is where the rule of a service stands below reservedKey.
const autoscaleKey = "autoscale"

// ownRules are what crawlbox has of its own, by place.
var ownRules = map[string]rules{
	reservedKey: {autoscaleKey: {is: mappingOrNone}},
	reservedKey + "." + autoscaleKey: {
		scalerule.Queue:      {is: text},
		scalerule.PerReplica: {is: count},
		scalerule.EmptyIn:    {is: duration},
		scalerule.Min:        {is: replicas},
		scalerule.Max:        {is: replicas},
	},
}

// Extension returns what the service has below x-crawlbox, as the file writes it; nil: nothing.
func (s Service) Extension() map[string]any {
	if s.Autoscale == nil {
		return nil
	}
	rule := map[string]any{
		scalerule.Queue: s.Autoscale.Queue,
		scalerule.Min:   s.Autoscale.Min,
		scalerule.Max:   s.Autoscale.Max,
	}
	if s.Autoscale.PerReplica > 0 {
		rule[scalerule.PerReplica] = s.Autoscale.PerReplica
	} else {
		rule[scalerule.EmptyIn] = scalerule.Text(s.Autoscale.EmptyIn)
	}
	return map[string]any{autoscaleKey: rule}
}

// ExtensionKey is where [Service.Extension] stands in a service.
const ExtensionKey = reservedKey

// readAutoscale takes the rule by which the replicas follow a queue out of what was decoded. The kinds of its values
// are known to be right.
func (r *serviceReader) readAutoscale(s *Service) {
	own, _ := s.Compose.Extensions[reservedKey].(map[string]any)
	values, is := own[autoscaleKey].(map[string]any)
	s.Compose.Extensions = nil
	if !is || !r.whole {
		return
	}
	const place = reservedKey + "." + autoscaleKey
	if s.Mode() != ModeReplicated {
		r.wrong(s, place, "a %s service has no number of replicas that could follow a queue; remove it", s.Mode())
		return
	}
	_, given := values[scalerule.PerReplica]
	rule := scalerule.Rule{Queue: textOf(values[scalerule.Queue])}
	rule.PerReplica, _ = strconv.Atoi(textOf(values[scalerule.PerReplica]))
	rule.Min, _ = strconv.Atoi(textOf(values[scalerule.Min]))
	rule.Max, _ = strconv.Atoi(textOf(values[scalerule.Max]))
	var within types.Duration
	if text, ok := values[scalerule.EmptyIn].(string); ok && within.DecodeMapstructure(text) == nil {
		rule.EmptyIn = time.Duration(within)
	}
	if given && rule.PerReplica == 0 {
		r.wrong(s, place+"."+scalerule.PerReplica, "must be 1 or more")
		return
	}
	if part, reason := rule.Check(); reason != "" {
		r.wrong(s, place+"."+part, "%s", reason)
		return
	}
	s.Autoscale = &rule
}

func textOf(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
