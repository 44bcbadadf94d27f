package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// directory makes a directory called My_Spider with the files given.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My_Spider")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const oneSpider = "class Quotes(Spider):\n    name = \"quotes\"\n"

func TestOpen(t *testing.T) {
	t.Parallel()
	python := "FROM python:3-slim\nENV PYTHONUNBUFFERED=1\nWORKDIR /app\n"
	pip := strings.Replace(python, "=1\n",
		"=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1\n", 1)
	node := "FROM node:lts-slim\nENV NODE_ENV=production NPM_CONFIG_UPDATE_NOTIFIER=false\nWORKDIR /app\n"
	golang := "FROM golang:1 AS build\nENV CGO_ENABLED=0 GOTOOLCHAIN=auto\nWORKDIR /src\n"
	ship := "# Files that the program reads while it runs are not in the image: embed them\n# (go:embed), or keep " +
		"this Dockerfile with --eject and COPY them here.\nFROM scratch\nWORKDIR /tmp\nCOPY --from=build " +
		"/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\nCOPY --from=build /app /app\nENTRYPOINT [\"/app\"]\n"
	type files = map[string]string
	for name, c := range map[string]struct {
		files      files
		o          Options
		kind       Kind
		dockerfile string
	}{
		"Dockerfile wins": {
			files{"Dockerfile": "FROM x", "scrapy.cfg": "", "package.json": "{}"},
			Options{},
			Dockerfile,
			"FROM x",
		},
		"other Dockerfile": {
			files{"Dockerfile": "FROM x", "docker/prod": "FROM y"},
			Options{Dockerfile: "docker/prod"},
			Dockerfile,
			"FROM y",
		},
		"scrapy": {
			files{"scrapy.cfg": "", "p/spiders/a.py": oneSpider},
			Options{},
			Scrapy,
			pip + "RUN [\"pip\",\"install\",\"--no-cache-dir\",\"scrapy\"]\nCOPY . .\nCMD " +
				"[\"scrapy\",\"crawl\",\"quotes\"]\n",
		},
		"scrapy with requirements": {
			files{"scrapy.cfg": "", "p/spiders/a.py": oneSpider, "requirements.txt": "Scrapy==2.13\nredis\n"},
			Options{},
			Scrapy,
			pip + "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\nCOPY . .\nCMD " +
				"[\"scrapy\",\"crawl\",\"quotes\"]\n",
		},
		"scrapy not among requirements": {
			files{"scrapy.cfg": "", "p/spiders/a.py": oneSpider, "requirements.txt": "scrapy-redis"},
			Options{Spider: "quotes"},
			Scrapy,
			pip + "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt scrapy\nCOPY . " +
				".\nCMD [\"scrapy\",\"crawl\",\"quotes\"]\n",
		},
		"one script": {
			files{"fetch.py": "", "setup.py": ""},
			Options{},
			Python,
			python + "COPY . .\nCMD [\"python3\",\"fetch.py\"]\n",
		},
		"main of many": {
			files{"a.py": "", "spider.py": ""},
			Options{Base: "local"},
			Python,
			"FROM local\nENV PYTHONUNBUFFERED=1\nWORKDIR /app\nCOPY . .\nCMD [\"python3\",\"spider.py\"]\n",
		},
		"requirements that lead to files": {
			files{"main.py": "", "requirements.txt": "-r more.txt\n"},
			Options{},
			Python,
			pip + "COPY . .\nRUN pip install --no-cache-dir -r requirements.txt\nCMD [\"python3\",\"main.py\"]\n",
		},
		"pyproject": {
			files{
				"main.py": "",
				"pyproject.toml": "[project]\nname = 'x'\ndependencies = ['httpx>=0.27', 'lxml; python_version < " +
					"\"4\"']\n",
			},
			Options{},
			Python,
			pip + `RUN ["pip","install","--no-cache-dir","httpx>=0.27","lxml; python_version < \"4\""]` +
				"\nCOPY . .\nCMD [\"python3\",\"main.py\"]\n",
		},
		"node with lock": {
			files{
				"package.json":      `{"scripts":{"start":"node -r dotenv/config src/a.js"}}`,
				"package-lock.json": "{}",
				"src/a.js":          "",
			},
			Options{},
			Node,
			node + "COPY package.json package-lock.json ./\nRUN npm ci --omit=dev\nCOPY . .\nCMD " +
				"[\"node\",\"-r\",\"dotenv/config\",\"src/a.js\"]\n",
		},
		"node with main": {files{"package.json": `{"main":"lib"}`, "lib/index.js": ""}, Options{}, Node,
			node + "COPY package.json ./\nRUN npm install --omit=dev\nCOPY . .\nCMD [\"node\",\"lib\"]\n"},
		"node that needs a shell": {files{"package.json": `{"scripts":{"start":"A=1 tsx x.ts"}}`}, Options{}, Node,
			node + "COPY package.json ./\nRUN npm install --omit=dev\nCOPY . .\nCMD [\"npm\",\"start\"]\n"},
		"go": {
			files{"go.mod": "module x", "go.sum": "", "main.go": "package main"},
			Options{},
			Go,
			golang + "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nRUN go build -buildvcs=false -trimpath " +
				"-o /app .\n" + ship,
		},
		"python with build args": {
			files{"main.py": "", "requirements.txt": "x"},
			Options{Args: []string{"BUILDKIT_INLINE_CACHE", "HTTP_PROXY", "INDEX", "MODE", "no_proxy"}},
			Python,
			strings.Replace(pip, "\n", "\nARG INDEX\nARG MODE\n",
				1) + "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"node with build args": {
			files{"package.json": `{}`, "index.js": ""},
			Options{Args: []string{"A"}},
			Node,
			strings.Replace(node, "\n", "\nARG A\n",
				1) + "COPY package.json ./\nRUN npm install --omit=dev\nCOPY . .\nCMD [\"node\",\"index.js\"]\n",
		},
		"go with build args": {
			files{"go.mod": "module x", "go.sum": "", "main.go": "package main"},
			Options{Args: []string{"A"}},
			Go,
			strings.Replace(golang, "\n", "\nARG A\n",
				1) + "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nRUN go build -buildvcs=false -trimpath " +
				"-o /app .\n" + ship,
		},
		"go with cmd and a local module": {
			files{"go.mod": "module x\nreplace y => ./y", "lib.go": "package x", "cmd/bot/main.go": "package main"},
			Options{},
			Go,
			golang + "COPY . .\nRUN go build -buildvcs=false -trimpath -o /app ./cmd/bot\n" + ship,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(directory(t, c.files), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind != c.kind || s.Name != "my-spider" || s.Generated != (c.kind != Dockerfile) {
				t.Errorf("got %s %s, generated %v", s.Kind, s.Name, s.Generated)
			}
			if s.Dockerfile != c.dockerfile {
				t.Errorf("got\n%s\nwant\n%s", s.Dockerfile, c.dockerfile)
			}
		})
	}
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	two := map[string]string{
		"scrapy.cfg":     "",
		"p/spiders/a.py": oneSpider,
		"p/spiders/b.py": "class B(Spider):\n  name = 'books'\n",
	}
	for name, c := range map[string]struct {
		files map[string]string
		o     Options
		want  string
	}{
		"nothing known":      {map[string]string{"README": ""}, Options{}, "write a Dockerfile there"},
		"no such Dockerfile": {nil, Options{Dockerfile: "x"}, "read Dockerfile: "},
		"many scripts": {
			map[string]string{"a.py": "", "b.py": ""},
			Options{},
			"has a.py, b.py, and none is main.py",
		},
		"no script":           {map[string]string{"requirements.txt": ""}, Options{}, "no main.py"},
		"many spiders":        {two, Options{}, "the spiders books, quotes; choose one with --spider"},
		"unknown spider":      {two, Options{Spider: "quote"}, `no spider "quote", but books, quotes`},
		"no spider":           {map[string]string{"scrapy.cfg": ""}, Options{}, "no class with name"},
		"spider of no Scrapy": {map[string]string{"main.py": ""}, Options{Spider: "x"}, "is of kind Python"},
		"poetry": {
			map[string]string{"main.py": "", "pyproject.toml": "[tool.poetry.dependencies]\nlxml = '*'"},
			Options{},
			"poetry export",
		},
		"node without build": {
			map[string]string{"package.json": `{"main":"dist/a.js"}`},
			Options{},
			"`node dist/a.js`, and no such file is there",
		},
		"many Go programs": {
			map[string]string{"go.mod": "", "cmd/a/a.go": "package main", "cmd/b/b.go": "package main"},
			Options{},
			"./cmd/a, ./cmd/b",
		},
		"no Go program": {map[string]string{"go.mod": "", "x.go": "package x"}, Options{}, "no package main"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(directory(t, c.files), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestServiceName(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"Spider":                       "spider",
		"my_spider.v2":                 "my-spider-v2",
		"--x--":                        "x",
		"/":                            "crawler",
		"паук":                         "crawler",
		"9to5":                         "9to5",
		strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62),
	} {
		if got := serviceName(base); got != want {
			t.Errorf("%s: got %s, want %s", base, got, want)
		}
	}
}

func TestSpiderNames(t *testing.T) {
	t.Parallel()
	text := `
name = "module"
class A(
    scrapy.Spider,
):
    """Doc."""

    name: str = 'a'  # comment
    def parse(self):
        name = "local"
class Base(scrapy.Spider):
	custom = {}
	name = make("x")
def f():
    name = "of a function"
class B(A):
	name = "b"
`
	if got := strings.Join(spiderNames(text), " "); got != "a b" {
		t.Errorf("got %q", got)
	}
}

func FuzzSpiderNames(f *testing.F) {
	f.Add(oneSpider)
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range spiderNames(text) {
			if n == "" || strings.Contains(n, "\n") {
				t.Errorf("name %q", n)
			}
		}
	})
}
