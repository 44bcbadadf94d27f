package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
)

// scrapyRedis runs the project of the manual's page on the queue: start URLs are pushed, items
// are in the log, two replicas share the work and are done, and start again.
func (c *cluster) scrapyRedis() {
	c.Helper()
	addr := addrOf(c.manager, 8090)
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		fmt.Fprintf(w, "<title>Page %s</title>", name)
		if len(name) < 3 {
			fmt.Fprintf(w, `<a class="next" href="/%sx">next</a>`, name)
		}
	}))
	site.Listener.Close()
	site.Listener = c.manager.Listen(addr)
	site.Start()
	c.Cleanup(site.Close)

	c.run("queue", "push", "titles:urls", "http://"+addr+"/a", "http://"+addr+"/b")
	contains(c.T, c.run("deploy", spiderDirectory(c.T, "titles"), "--base", c.withWheel("spiders:lab"),
		"--replicas", "2"), "has no Dockerfile; as a Scrapy spider it gets this one",
		"RUN pip install --no-cache-dir -r requirements.txt", "2 running")
	c.awaitOutput("titles", `"title": "Page a"`, `"title": "Page axx"`, `"title": "Page bxx"`)
	c.awaitComplete("titles", "localhost:8003/titles:0.01", 2)

	c.run("queue", "push", "titles:urls", "http://"+addr+"/later")
	contains(c.T, c.run("start", "titles"), "2 running")
	c.awaitOutput("titles", `"title": "Page later"`)
}

// withWheel makes an image of another one in which pip finds scrapy-redis. Debian has no package
// of it, and a lab no Internet.
func (c *cluster) withWheel(base string) (image string) {
	c.Helper()
	const wheel = "scrapy_redis-0.9.1-py3-none-any.whl"
	bytes, err := os.ReadFile(filepath.Join("testdata", wheel))
	if err != nil {
		c.Fatal(err)
	}
	directory := filesIn(c.T, map[string]string{
		wheel:        string(bytes),
		"Dockerfile": "FROM " + base + "\nCOPY *.whl /wheels/\nENV PIP_FIND_LINKS=/wheels PIP_NO_INDEX=1\n",
	})
	c.manager.MustExec("env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", "--tag", "scrapy:lab", directory)
	return "scrapy:lab"
}
