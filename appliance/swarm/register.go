package swarm

import (
	"context"
	"errors"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// ErrStale is returned by Register.Swap where the value is another one by now.
var ErrStale = errors.New("it was changed by somebody else in the meantime")

// Register is a short value that all managers of a swarm read and change, in Swarm's own raft: who
// changes it says what it was. It is a label of a config. What is in a config never changes, its labels
// can, and Swarm refuses a change of what is no longer as it was read, without quorum too.
type Register struct {
	engine *Engine
	name   string
}

// registerData is in the config of a register, for who looks at it with the docker command.
const registerData = "The label of this config belongs to crawlbox. Do not remove it.\n"

// Register returns the register with a name, which is that of the config and of its label.
func (e *Engine) Register(name string) Register { return Register{e, name} }

// Load returns the value, and the moment at which it is that; both are empty where there is none.
func (r Register) Load(ctx context.Context) (value, moment string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, _, err := r.engine.cli.ConfigInspectWithRaw(ctx, r.name)
	switch {
	case cerrdefs.IsNotFound(err):
		return "", "", nil
	case err != nil:
		return "", "", r.explain(err)
	}
	return c.Spec.Labels[r.name], c.ID + "@" + strconv.FormatUint(c.Version.Index, 10), nil
}

// Swap sets the value where nobody did since a moment. The error is ErrStale where somebody did; where
// it is another the value may be set for all that.
func (r Register) Swap(ctx context.Context, moment, value string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	spec := swarm.ConfigSpec{
		Annotations: swarm.Annotations{Name: r.name, Labels: map[string]string{r.name: value}},
		Data:        []byte(registerData),
	}
	var err error
	if id, index, ok := strings.Cut(moment, "@"); ok {
		v := swarm.Version{}
		if v.Index, err = strconv.ParseUint(index, 10, 64); err == nil {
			err = r.engine.cli.ConfigUpdate(ctx, id, v, spec)
		}
	} else {
		_, err = r.engine.cli.ConfigCreate(ctx, spec)
	}
	if err != nil && (outcomeOf(err) == soon || cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err)) {
		return ErrStale
	}
	return r.explain(err)
}

// explain says what it may be that Swarm does not answer: it waits for a leader.
func (r Register) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return words.Error(err, "Swarm does not answer in time; more than half of its managers have to be online for "+
			"a change: start those that are not, or run `crawlbox recover` here where they are gone for good")
	}
	return r.engine.explain(err)
}
