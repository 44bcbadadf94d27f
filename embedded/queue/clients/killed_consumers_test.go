package clients_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// consumers are those of the manual's table: see appliance/help/queue.md.
var consumers = map[string]consumer{
	"walkthrough": {
		safe: []string{"example:*"}, window: 1, slots: 3, embedded: true,
		produce: pushed("example:swarm:spider"), work: walkthrough,
	},
	"scrapy-redis fifo":     scrapyRedis("FifoQueue", true),
	"scrapy-redis lifo":     scrapyRedis("LifoQueue", true),
	"scrapy-redis priority": scrapyRedis("PriorityQueue", false),
	"redis-py 8": {
		safe: []string{"jobs:*"}, window: 1, embedded: true, produce: pushedAllKinds,
		work: python3("", "testdata/killed/redis8.py"),
	},
	"rq": {
		safe: []string{"rq:queue:*"}, window: 1,
		produce: produced(python3("python3-rq", "testdata/killed/rq_jobs.py")),
		work:    python3("python3-rq", "-m", "rq.cli", "worker", "--quiet", "--url", "{url}"),
	},
	"celery": {
		safe: []string{"celery*"}, window: 40, embedded: true,
		produce: produced(python3("python3-celery", "testdata/killed/celery_tasks.py")),
		work: python3("python3-celery", "-m", "celery", "--app", "celery_tasks", "worker", "--concurrency", "2",
			"--loglevel", "critical"),
	},
	"sidekiq": {
		safe: []string{"queue:*"}, window: 16,
		produce: produced(sidekiq("ruby", "testdata/killed/sidekiq_jobs.rb")),
		work: sidekiq("sidekiq", "--require", "./testdata/killed/sidekiq_jobs.rb", "--concurrency", "4", "--timeout",
			"2"),
	},
	"bullmq": {
		window: 4, long: true, produce: produced(bullmq), work: bullmq,
	},
	"asynq": {
		window: 4, long: true, produce: asynqProduced, work: asynq,
	},
}

func scrapyRedis(class string, long bool) consumer {
	return consumer{
		safe: []string{"numbers:urls", "numbers:requests"}, window: 64, embedded: true, long: long,
		produce: func(t *testing.T, k *killed, items int) {
			for i := range items {
				k.push("numbers:urls", "num://host/item-"+strconv.Itoa(i))
			}
		},
		work: python3("python3-scrapy", "-m", "scrapy", "runspider", "testdata/killed/numbers_spider.py", "--set",
			"REDIS_URL={url}", "--set", "SCHEDULER_QUEUE_CLASS=scrapy_redis.queue."+class),
	}
}

func (k *killed) push(key string, items ...any) {
	k.Helper()
	if err := k.direct.RPush(k.Context(), key, items...).Err(); err != nil {
		k.Fatal(err)
	}
}

// pushed pushes the items' names.
func pushed(key string) func(t *testing.T, k *killed, items int) {
	return func(_ *testing.T, k *killed, items int) {
		for i := range items {
			k.push(key, "item-"+strconv.Itoa(i))
		}
	}
}

func pushedAllKinds(t *testing.T, k *killed, items int) {
	for i := range items {
		name := "item-" + strconv.Itoa(i)
		switch i % 3 {
		case 0:
			k.push("jobs:list", name)
		case 1:
			if err := k.direct.SAdd(t.Context(), "jobs:set", name).Err(); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := k.direct.Do(t.Context(), "ZADD", "jobs:sorted", i, name).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// produced has a program ask for the items.
func produced(prog func(t *testing.T, k *killed, url *address) program) func(t *testing.T, k *killed, items int) {
	return func(t *testing.T, k *killed, items int) {
		p := prog(t, k, k.producer())
		p.args = append(p.args, strconv.Itoa(items))
		p.env = append(k.env(k.producer()), p.env...)
		run(t, time.Minute, p)
	}
}

// python3 runs Debian's, with {url} in the arguments for that of the queue.
func python3(pkg string, args ...string) func(t *testing.T, k *killed, url *address) program {
	return func(t *testing.T, k *killed, url *address) program {
		if pkg != "" {
			needPackage(t, pkg, python, "-c", "import "+strings.TrimPrefix(pkg, "python3-"))
		}
		prog := program{name: python, args: []string{"-W", "ignore"}}
		for _, arg := range args {
			prog.args = append(prog.args, strings.ReplaceAll(arg, "{url}", url.url()))
		}
		if pkg == "" { // with the newest redis-py
			here := env(k.env(url), "PYTHONPATH")
			prog.env = []string{"PYTHONPATH=" + strings.Split(here, ":")[0] + "/redis-py-8.1.0.zip:" + here}
		}
		return prog
	}
}

func env(all []string, name string) string {
	for _, v := range all {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// walkthrough runs the spider of the walkthrough, which has the queue's address in its text. Its sleep is short.
func walkthrough(t *testing.T, k *killed, url *address) program {
	needPackage(t, "python3-redis", python, "-c", "import redis")
	text, err := os.ReadFile("../../../testdata/spiders/walkthrough/spider.py")
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("MASTER", url.host, "7891", url.port, "PASSWORD", url.password).Replace(string(text))
	path := filepath.Join(t.TempDir(), "spider.py")
	if err := os.WriteFile(path, []byte(filled), 0o644); err != nil {
		t.Fatal(err)
	}
	here := env(k.env(url), "PYTHONPATH")
	return program{
		name: python, args: []string{path},
		env: []string{"PYTHONPATH=" + strings.Split(here, ":")[0] + "/spider:" + here},
	}
}

func sidekiq(name string, args ...string) func(t *testing.T, k *killed, url *address) program {
	return func(t *testing.T, _ *killed, url *address) program {
		needPackage(t, "ruby-sidekiq", "ruby", "-e", "require 'sidekiq'")
		return program{name: name, args: args, env: []string{"REDIS_URL=" + url.url()}}
	}
}

func bullmq(t *testing.T, _ *killed, _ *address) program { return node(t, "../killed/bullmq.js") }

func asynq(t *testing.T, _ *killed, url *address) program {
	return program{name: artifact.Asynq(t), args: []string{net.JoinHostPort(url.host, url.port), url.password, "0"}}
}

func asynqProduced(t *testing.T, k *killed, items int) {
	prog := asynq(t, k, k.producer())
	prog.args[2] = strconv.Itoa(items)
	run(t, time.Minute, prog)
}
