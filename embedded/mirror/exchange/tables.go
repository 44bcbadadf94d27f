package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// tables holds the tables of the blobs that are here whole, made when first asked for
// and kept in memory.
type tables struct {
	making chan struct{} // holds one token for each that is being made
	known  *lru.Cache[digest.Digest, func() (*cut.Table, error)]
}

// maxMaking is how many blobs are read at a time to be cut: a node may ask for the tables
// of all.
const maxMaking = 2

func newTables() *tables {
	c, _ := lru.New[digest.Digest, func() (*cut.Table, error)](remembered)
	return &tables{making: make(chan struct{}, maxMaking), known: c}
}

// of returns the table of a blob; several callers wait for the same reading.
func (t *tables) of(d digest.Digest, b Blob, piece int64) (*cut.Table, error) {
	get, ok := t.known.Get(d)
	if !ok {
		get = sync.OnceValues(func() (*cut.Table, error) {
			t.making <- struct{}{}
			defer func() { <-t.making }()
			return cut.Make(d, io.NewSectionReader(b, 0, b.Size()), b.Size(), piece)
		})
		if others, ok, _ := t.known.PeekOrAdd(d, get); ok {
			get = others
		}
	}
	table, err := get()
	if err != nil {
		t.known.Remove(d)
	}
	return table, err
}

func (t *tables) keep(d digest.Digest, table *cut.Table) {
	t.known.Add(d, func() (*cut.Table, error) { return table, nil })
}

const (
	tableTimeout = 5 * time.Second
	// tableAsked is how many nodes are asked for a table at a time.
	tableAsked = 8
)

// findTable asks the trackers how a blob is cut, one after the other until one has it, and, where none
// answers, the other nodes. It says which node it came from.
func (x *Exchange) findTable(ctx context.Context, d digest.Digest) (table *cut.Table, from string, err error) {
	ask := func(ctx context.Context, node string) (*cut.Table, error) {
		ctx, cancel := context.WithTimeout(ctx, tableTimeout)
		defer cancel()
		t, err := x.o.Network.Table(ctx, node, d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node, err)
		}
		return t, nil
	}
	failed, answered := errors.New("no node is known"), ""
	for _, node := range x.o.Trackers() {
		t, err := ask(ctx, node)
		if err == nil {
			return t, node, nil
		}
		if errors.Is(err, ErrUnknown) { // another one may have it already
			answered = node
		}
		failed = err
	}
	if answered != "" {
		return nil, answered, ErrUnknown
	}
	found := errors.New("found")
	var once sync.Once
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(tableAsked)
	for _, node := range shuffled(x.o.Nodes()) {
		group.Go(func() error {
			t, err := ask(gctx, node)
			if err != nil {
				return nil
			}
			once.Do(func() { table, from = t, node })
			return found
		})
	}
	if group.Wait() != nil {
		return table, from, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	return nil, "", fmt.Errorf("%w, and no other node has it", failed)
}
