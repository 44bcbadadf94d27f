package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// killedDir has the programs of TestKilled, which those of TestQueueClients are too.
const killedDir = "../../embedded/queue/clients/testdata/killed"

// killedClient is a program as it is that works through numbered items. Its commands are run by a shell in the
// directory of the programs, with QUEUE_URL, and write what they do into the file RECORD.
type killedClient struct {
	safe     []string // its keys, as the manual's table has them
	replicas int
	atOnce   int // items that a replica is at
	run      string
	produce  string // has the items put into the queue, with their number behind it; "": fill does
	fill     func(c *killedClients, p redis.Pipeliner, i int, name string)
}

// killedPrograms are those of the manual's table: see appliance/help/queue.md.
var killedPrograms = map[string]killedClient{
	"spider": {
		safe: []string{"example:*"}, replicas: 4, atOnce: 1,
		run: "PYTHONPATH=spider:. exec /usr/bin/python3 spider.py",
		fill: func(c *killedClients, p redis.Pipeliner, _ int, name string) {
			p.RPush(c.Context(), "example:swarm:spider", name)
		},
	},
	"redis8": {
		safe: []string{"jobs:*"}, replicas: 4, atOnce: 1,
		run: "PYTHONPATH=redis-py-8.1.0.zip:. exec /usr/bin/python3 redis8.py",
		fill: func(c *killedClients, p redis.Pipeliner, i int, name string) {
			switch i % 3 {
			case 0:
				p.RPush(c.Context(), "jobs:list", name)
			case 1:
				p.SAdd(c.Context(), "jobs:set", name)
			case 2:
				p.ZAdd(c.Context(), "jobs:sorted", redis.Z{Score: float64(i), Member: name})
			}
		},
	},
	"rq": {
		safe: []string{"rq:queue:*"}, replicas: 3, atOnce: 1,
		run:     "PYTHONPATH=. exec /usr/bin/python3 -m rq.cli worker --quiet --url $QUEUE_URL",
		produce: "PYTHONPATH=. exec /usr/bin/python3 rq_jobs.py",
	},
	"celery": {
		safe: []string{"celery*"}, replicas: 3, atOnce: 2,
		run: "PYTHONPATH=. exec /usr/bin/python3 -W ignore -m celery --app celery_tasks worker --concurrency 2 " +
			"--loglevel critical",
		produce: "PYTHONPATH=. exec /usr/bin/python3 celery_tasks.py",
	},
	"scrapy-fifo":     killedScrapy("Fifo"),
	"scrapy-lifo":     killedScrapy("Lifo"),
	"scrapy-priority": killedScrapy("Priority"),
	"sidekiq": {
		safe: []string{"queue:*"}, replicas: 3, atOnce: 4,
		run:     "REDIS_URL=$QUEUE_URL exec sidekiq --require ./sidekiq_jobs.rb --concurrency 4 --timeout 2",
		produce: "REDIS_URL=$QUEUE_URL exec ruby sidekiq_jobs.rb",
	},
	// These two keep their items themselves.
	"bullmq": {
		replicas: 3, atOnce: 4,
		run: "NODE_PATH=node_modules exec node bullmq.js", produce: "NODE_PATH=node_modules exec node bullmq.js",
	},
	"asynq": {
		replicas: 3, atOnce: 4,
		run:     "exec ./asynq queue.crawlbox.internal:7891 " + password + " 0",
		produce: "exec ./asynq 127.0.0.1:7891 " + password,
	},
}

// killedScrapy is a spider of scrapy-redis, which fetches 8 pages of one server at once.
func killedScrapy(class string) killedClient {
	name := strings.ToLower(class)
	return killedClient{
		safe: []string{name + ":requests", name + ":urls"}, replicas: 3, atOnce: 8,
		run: "PYTHONPATH=.:" + scrapyRedis + " exec /usr/bin/python3 -W ignore -m scrapy runspider numbers_spider.py " +
			"-a name=" + name + " --set REDIS_URL=$QUEUE_URL " +
			"--set SCHEDULER_QUEUE_CLASS=scrapy_redis.queue." + class + "Queue",
		fill: func(c *killedClients, p redis.Pipeliner, _ int, item string) {
			p.RPush(c.Context(), name+":urls", "num://host/"+item)
		},
	}
}

const scrapyRedis = "scrapy_redis-0.9.1-py3-none-any.whl"

// service is a part of the config: the program, slowed down, with this machine's programs and a record for each
// container.
func (k killedClient) service(c *killedClients, name string) string {
	slower := 15
	if c.lasts > 0 { // for as long as harm is done, which has whole windows come back a dozen times
		const mean = 19 // ms
		items := c.items + 12*c.window*k.replicas
		slower = max(1, int(c.lasts.Milliseconds())*k.replicas*k.atOnce/mean/items)
	}
	volumes := append([]string{c.dir + ":" + c.dir}, artifact.MachineVolumes...)
	run := fmt.Sprintf("cd %s; export RECORD=records/%s-$(cat /proc/sys/kernel/random/uuid); %s", c.dir, name, k.run)
	return fmt.Sprintf(`
  %s:
    image: localhost:8003/empty:1
    command: [/bin/sh, -c, %q]
    volumes: ['%s']
    environment: {QUEUE_URL: '${CRAWLBOX_QUEUE_URL}', SLOWER: '%d', VISIBILITY: '30', LEASE: '30000'}
    stop_grace_period: 1s
    deploy:
      replicas: %d
      restart_policy: {condition: any, delay: 1s}`,
		name, strings.ReplaceAll(run, "$", "$$"), strings.Join(volumes, "', '"), slower, k.replicas)
}

// prepare has an image, and the programs of the services.
func (c *killedClients) prepare() {
	c.Helper()
	c.manager.MustExec("docker", "import", artifact.EmptyImage(c), "localhost:8003/empty:1")
	c.manager.Docker("push", "--quiet", "localhost:8003/empty:1")
	programs := []string{killedDir + "/.", "testdata/" + scrapyRedis}
	for _, name := range c.names {
		switch name {
		case "bullmq":
			programs = append(programs, artifact.NodeModules(c))
		case "asynq":
			programs = append(programs, artifact.Asynq(c))
		}
	}
	out, err := exec.CommandContext(c.Context(), "cp", append([]string{"--archive", "--target-directory", c.dir},
		programs...)...).CombinedOutput()
	if err != nil {
		c.Fatalf("copy the programs: %v\n%s", err, out)
	}
	if err := os.Mkdir(filepath.Join(c.dir, "records"), 0o755); err != nil {
		c.Fatal(err)
	}
	text, err := os.ReadFile("../../testdata/spiders/walkthrough/spider.py")
	if err != nil {
		c.Fatal(err)
	}
	filled := strings.NewReplacer("MASTER", c.manager.IP().String(), "PASSWORD", password).Replace(string(text))
	if err := os.WriteFile(filepath.Join(c.dir, "spider.py"), []byte(filled), 0o644); err != nil {
		c.Fatal(err)
	}
}

// produce puts the items of all clients into the queue.
func (c *killedClients) produce(client *redis.Client) {
	c.Helper()
	for _, name := range c.names {
		k := killedPrograms[name]
		if k.produce != "" {
			c.manager.MustExec("sh", "-c", fmt.Sprintf("cd %s; export QUEUE_URL=redis://default:%s@127.0.0.1:7891 "+
				"RECORD=/dev/null; %s %d", c.dir, password, k.produce, c.items))
			continue
		}
		_, err := client.Pipelined(c.Context(), func(p redis.Pipeliner) error {
			for i := range c.items {
				k.fill(c, p, i, fmt.Sprintf("item-%d", i))
			}
			return nil
		})
		if err != nil {
			c.Fatal(err)
		}
	}
}
