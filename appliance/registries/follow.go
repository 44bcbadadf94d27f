package registries

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// maxPassing is how many uploads are passed on at a time while they come in. What finds no place is
	// copied when all of it is here.
	maxPassing = 16
	// passIdle is how long an upload may rest that is passed on; a push may.
	passIdle = 2 * time.Minute
	// passLook is how often it is looked whether more of it has come.
	passLook = 20 * time.Millisecond
)

// passage is an upload that another manager gets while it comes in. It is read from the disk as far as it has
// come, so that who pushes does not wait for the other, however slow that is.
type passage struct {
	repo, upload string
	ended        chan digest.Digest // has one, which is empty for a blob that is not to be
	done         chan struct{}      // is closed when the other has it, or can't have it
	digest       digest.Digest      // once it ended; guarded by Set.mu
}

// Begun implements registry.Others.
func (s *Set) Begun(repo, upload string) {
	others := s.others.reachable()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(others) == 0 || s.o.Copies < 2 || len(s.passing) >= maxPassing || s.ctx.Err() != nil {
		return
	}
	p := &passage{repo: repo, upload: upload, ended: make(chan digest.Digest, 1), done: make(chan struct{})}
	s.passing[upload] = p
	s.running.Go(func() {
		defer s.passed(p)
		if err := s.pass(s.ctx, p, others[0]); err != nil {
			s.o.Log.Debug("failed to pass an upload on; it is copied later", "repository", repo, "node",
				others[0].Name, "error", err)
		}
	})
}

// Ended implements registry.Others.
func (s *Set) Ended(_, upload string, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.passing[upload]; p != nil {
		p.digest = d
		select {
		case p.ended <- d:
		default: // it ended before
		}
	}
}

func (s *Set) passed(p *passage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.passing, p.upload)
	close(p.done)
}

// onTheWay returns those passages that bring one of some blobs.
func (s *Set) onTheWay(blobs map[digest.Digest]bool) (list []*passage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passing {
		if blobs[p.digest] {
			list = append(list, p)
		}
	}
	return list
}

// errDropped ends a passage of an upload that is not to be.
var errDropped = errors.New("the upload did not come to its end")

// pass passes an upload on.
func (s *Set) pass(ctx context.Context, p *passage, to Manager) error {
	file, err := s.Registry.OpenUpload(p.repo, p.upload)
	if err != nil {
		return err
	}
	defer file.Close()
	body := &growing{ctx: ctx, file: file, ended: p.ended}
	first := make([]byte, 1)
	if n, err := body.Read(first); n == 0 {
		if errors.Is(err, io.EOF) {
			err = errDropped // or empty
		}
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	u, err := s.others.at(to).begin(ctx, p.repo)
	if err != nil {
		return err
	}
	if err = u.send(ctx, body); err == nil {
		if body.digest == "" {
			err = errDropped
		} else {
			err = u.end(ctx, body.digest)
		}
	}
	if err != nil {
		u.drop(ctx)
	}
	return err
}

// growing reads a file to which is written, until ended says that it is whole.
type growing struct {
	ctx    context.Context
	file   *os.File
	ended  <-chan digest.Digest
	whole  bool
	digest digest.Digest
}

func (g *growing) Read(p []byte) (int, error) {
	idle := time.NewTimer(passIdle)
	defer idle.Stop()
	for {
		n, err := g.file.Read(p)
		if n > 0 || g.whole || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		look := time.NewTimer(passLook)
		select {
		case g.digest = <-g.ended:
			g.whole = true
		case <-look.C:
		case <-idle.C:
			err = errDropped
		case <-g.ctx.Done():
			err = g.ctx.Err()
		}
		look.Stop()
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
}
