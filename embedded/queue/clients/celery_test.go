package clients_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// celery runs a command of Celery for the application in testdata/celery.
func (s server) celery(args ...string) program {
	return program{
		name: python, args: append([]string{"-m", "celery", "-A", "tasks"}, args...),
		dir: "testdata/celery", env: []string{"QUEUE_URL=" + s.url()},
	}
}

// drive runs a part of testdata/celery/drive.py.
func (s server) drive(args ...string) program {
	prog := s.celery()
	prog.args = append([]string{"drive.py"}, args...)
	return prog
}

func (s server) celeryWorker(t *testing.T, name string, env ...string) *process {
	t.Helper()
	prog := s.celery("worker", "--concurrency", "2", "--loglevel", "info", "--hostname", name+"@host")
	prog.env = append(prog.env, env...)
	p := start(t, prog)
	p.waitFor(t, 30*time.Second, name+"@host ready.")
	return p
}

func needCelery(t *testing.T) {
	t.Helper()
	needPackage(t, "python3-celery", python, "-c", "import celery, redis")
}

// Celery with its defaults: the queue carries tasks, results, and the news between workers.
func TestCelery_Defaults(t *testing.T) {
	t.Parallel()
	needCelery(t)
	s := startServer(t)
	worker := s.celeryWorker(t, "one")
	run(t, 60*time.Second, s.drive("everything"))
	inspect := start(t, s.celery("inspect", "ping", "--timeout", "5"))
	inspect.waitFor(t, 30*time.Second, "one@host: OK")
	worker.signal(t, syscall.SIGTERM)
	if out, err := worker.finish(t, 20*time.Second); err != nil {
		t.Errorf("the worker did not stop cleanly: %v\n%s", err, tail(out))
	}
}

// What a killed worker had taken is done by the next one, once its time is over.
func TestCelery_WorkerKilled(t *testing.T) {
	t.Parallel()
	needCelery(t)
	s := startServer(t)
	visibility := time.Second
	env := "VISIBILITY=" + strconv.FormatFloat(visibility.Seconds(), 'f', -1, 64)
	journal := filepath.Join(t.TempDir(), "begun")

	first := s.celeryWorker(t, "first", env)
	driver := start(t, s.drive("slow", journal))
	first.waitFor(t, 20*time.Second, "begun slow")
	first.kill()

	c, ctx := s.client(t, redis.Options{}), within(t, 60*time.Second)
	await(t, 20*time.Second, func() error {
		late := strconv.FormatInt(time.Now().Add(-visibility).Unix(), 10)
		n, err := c.ZCount(ctx, "unacked_index", "-inf", late).Result()
		if n == 0 && err == nil {
			err = fmt.Errorf("the killed worker's task is not overdue yet")
		}
		return err
	})
	s.celeryWorker(t, "second", env)
	if out, err := driver.finish(t, 30*time.Second); err != nil {
		t.Errorf("the second worker did not do the task: %v\n%s", err, tail(out))
	}
	await(t, 10*time.Second, func() error { // acknowledged after the result
		if left, err := c.HLen(ctx, "unacked").Result(); left != 0 || err != nil {
			return errors.Join(err, fmt.Errorf("%d tasks are not acknowledged", left))
		}
		return nil
	})
}
