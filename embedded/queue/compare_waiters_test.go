package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestCompare_GeneratedWaiters has several clients wait for items of the same keys,
// while another brings some: the same client has to get the same item.
func TestCompare_GeneratedWaiters(t *testing.T) {
	t.Parallel()
	// The second has a key renamed away before another one gets an item, and then come back.
	for _, seed := range []uint64{testenv.Seed(t), 3526821119251714470} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { compareWaiters(t, seed) })
	}
}

func compareWaiters(t *testing.T, seed uint64) {
	t.Parallel()
	steps := int(envNumber(t, compareSteps, 1500))
	c := newComparison(t, startCompared(t), 2+int(seed%2))
	c.begin(nil)
	w := waiterGenerator{generator: generator{rand.New(rand.NewPCG(seed, 0))}, comparison: c}
	for step := 1; step <= steps && !t.Failed(); step++ {
		c.at = fmt.Sprintf("%s=%d step %d", testenv.SeedVariable, seed, step)
		w.step()
	}
}

type waiterGenerator struct {
	generator
	*comparison
	waiting []string // names of clients
}

var waiterNames = strings.Fields("a b c d e f")

func (w *waiterGenerator) step() {
	w.Helper()
	switch n := w.generator.IntN(100); {
	case n < 45 && len(w.waiting) < len(waiterNames):
		w.wait()
	case n < 50 && len(w.waiting) > 0:
		w.leave()
	case n < 55 && len(w.waiting) > 0:
		name := w.waiting[w.generator.IntN(len(w.waiting))]
		w.bring([]string{"CLIENT", "UNBLOCK", "{id:" + name + "}", w.pick("TIMEOUT", "ERROR")})
	case n < 65:
		commands := [][]string{{"MULTI"}}
		for range 1 + w.generator.IntN(4) {
			commands = append(commands, w.expand(bringing))
		}
		w.bring(append(commands, []string{"EXEC"})...)
	default:
		w.bring(w.expand(bringing))
	}
}

// What stores its result is left out: Redis 7.0 wakes nobody when that replaces
// another value, the queue does.
const (
	waitingFor = "((BLPOP|BRPOP) <place> *(<place>) 0|BLMOVE <place> <place> (LEFT|RIGHT) (LEFT|RIGHT) 0|" +
		"BRPOPLPUSH <place> <place> 0|BLMPOP 0 #(<place>) (LEFT|RIGHT) ?(COUNT (1|2|10))|" +
		"(BZPOPMIN|BZPOPMAX) <place> *(<place>) 0|BZMPOP 0 #(<place>) (MIN|MAX) ?(COUNT (1|2)))"
	bringing = "((LPUSH|RPUSH) <place> <val> *(<val>)|(LPUSH|RPUSH) <place> <val> *(<val>)|ZADD <place> " +
		"<score> <val>|" +
		"ZADD <place> <score> <val> <score> <val>|(DEL|UNLINK) <place>|SET <place> x|SADD <place> x|" +
		"RENAME <place> <place>|COPY <place> <place>|LMOVE <place> <place> LEFT RIGHT|LPOP <place>|FLUSHALL)"
)

// wait sends a blocking command, whose reply comes at once where a key exists.
func (w *waiterGenerator) wait() {
	w.Helper()
	idle := slices.DeleteFunc(slices.Clone(waiterNames),
		func(name string) bool { return slices.Contains(w.waiting, name) })
	name := idle[w.generator.IntN(len(idle))]
	args := w.expand(waitingFor)
	sources := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !strings.HasPrefix(arg, "k") })
	if args[0] == "BLMOVE" || args[0] == "BRPOPLPUSH" {
		sources = sources[:1]
	}
	served := w.client("control").exchange(w.comparison, append([]string{"EXISTS"}, sources...)...).text != "0"
	client := w.client(name)
	client.send(w.comparison, args)
	if served {
		client.receive(w.comparison)
		w.served()
		return
	}
	w.waiting = append(w.waiting, name)
	w.direct([]string{"blocked", strconv.Itoa(len(w.waiting))})
}

// leave has a client hang up while it waits.
func (w *waiterGenerator) leave() {
	w.Helper()
	at := w.generator.IntN(len(w.waiting))
	w.hangUp(w.waiting[at])
	w.waiting = slices.Delete(w.waiting, at, at+1)
	w.direct([]string{"blocked", strconv.Itoa(len(w.waiting))})
}

func (w *waiterGenerator) bring(commands ...[]string) {
	w.Helper()
	for _, args := range commands {
		w.client("w").exchange(w.comparison, args...)
	}
	w.served()
}

// served compares what clients got that no longer wait.
func (w *waiterGenerator) served() {
	w.Helper()
	list, err := w.client("control").redis.do("CLIENT", "LIST")
	if err != nil {
		w.Fatal(err)
	}
	var still []string
	for _, name := range w.waiting {
		if isBlocked(list.text, w.client(name).redis.id) {
			still = append(still, name)
		}
	}
	w.direct([]string{"blocked", strconv.Itoa(len(still))})
	for _, name := range w.waiting {
		if !slices.Contains(still, name) {
			w.client(name).receive(w.comparison)
		}
	}
	w.waiting = still
}

// isBlocked reads the flags of a client in CLIENT LIST.
func isBlocked(list, id string) bool {
	_, flags, _ := strings.Cut(clientLine(list, id), " flags=")
	flags, _, _ = strings.Cut(flags, " ")
	return strings.Contains(flags, "b")
}
