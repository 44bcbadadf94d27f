package source

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		"requirements.in": {
			files{"main.py": "", "requirements.in": "redis"},
			Options{},
			Python,
			pip + "COPY requirements.in ./\nRUN pip install --no-cache-dir -r requirements.in\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"requirements.txt before all others": {
			files{"main.py": "", "requirements.txt": "x", "Pipfile": "", "setup.py": "install_requires", "uv.lock": ""},
			Options{},
			Python,
			pip + "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"setup.py": {
			files{"main.py": "", "setup.py": "setup(install_requires=['redis'])"},
			Options{},
			Python,
			pip + "COPY . .\nRUN pip install --no-cache-dir .\nCMD [\"python3\",\"main.py\"]\n",
		},
		"setup.py of scrapyd-deploy": {
			files{"scrapy.cfg": "", "p/spiders/a.py": oneSpider, "setup.py": "setup(packages=find_packages())"},
			Options{},
			Scrapy,
			pip + "RUN [\"pip\",\"install\",\"--no-cache-dir\",\"scrapy\"]\nCOPY . .\nCMD " +
				"[\"scrapy\",\"crawl\",\"quotes\"]\n",
		},
		"setup.cfg beside pyproject.toml": {
			files{"scrapy.cfg": "", "p/spiders/a.py": oneSpider, "setup.cfg": "install_requires = redis",
				"pyproject.toml": "[tool.black]"},
			Options{},
			Scrapy,
			pip + "COPY . .\nRUN pip install --no-cache-dir . scrapy\nCMD [\"scrapy\",\"crawl\",\"quotes\"]\n",
		},
		"dynamic dependencies": {
			files{"main.py": "", "pyproject.toml": "[project]\nname = 'x'\ndynamic = ['version', 'dependencies']"},
			Options{},
			Python,
			pip + "COPY . .\nRUN pip install --no-cache-dir .\nCMD [\"python3\",\"main.py\"]\n",
		},
		"a lock beside dependencies": {
			files{"main.py": "", "uv.lock": "", "pyproject.toml": "[project]\ndependencies = ['redis']\n" +
				"[dependency-groups]\ndev = ['pytest']"},
			Options{},
			Python,
			"# The versions in uv.lock do not count; to have them, run `uv export --no-dev -o requirements.txt`.\n" +
				pip + "RUN [\"pip\",\"install\",\"--no-cache-dir\",\"redis\"]\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"nothing needed": {
			files{"main.py": "", "uv.lock": "", "requirements-dev.txt": "x",
				"pyproject.toml": "[project]\ndependencies = []\n[dependency-groups]\ndev = ['pytest']"},
			Options{},
			Python,
			python + "COPY . .\nCMD [\"python3\",\"main.py\"]\n",
		},
		"packages of a script": {
			files{"main.py": "#!/usr/bin/env python3\n# /// script\n# requires-python = '>=3.11'\n# dependencies = " +
				"[\n" +
				"#   'redis',\n# ]\n# ///\nimport redis\n"},
			Options{},
			Python,
			pip + "RUN [\"pip\",\"install\",\"--no-cache-dir\",\"redis\"]\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"files with a mark": {
			files{"main.py": "", "pyproject.toml": "\ufeff[project]\ndependencies = ['redis']"},
			Options{},
			Python,
			pip + "RUN [\"pip\",\"install\",\"--no-cache-dir\",\"redis\"]\nCOPY . .\nCMD " +
				"[\"python3\",\"main.py\"]\n",
		},
		"node with a tool to prepare": {
			files{
				"package.json": "\ufeff" + `{"scripts":{"prepare":"is-ci || npm run hooks","hooks":"husky"},` +
					`"devDependencies":{"husky":"9","@types/node":"22"},"dependencies":{"is-ci":"1"}}`,
				"package-lock.json": "{}",
				"index.js":          "",
			},
			Options{},
			Node,
			node + "COPY package.json package-lock.json ./\nRUN npm pkg delete scripts.prepare && npm ci " +
				"--omit=dev\nCOPY . .\nCMD [\"node\",\"index.js\"]\n",
		},
		"node with a lock of yarn": {
			files{"package.json": `{"scripts":{"start":"node yarn/a.js"},"devDependencies":{"yarn":"1"}}`,
				"yarn/a.js": "", "yarn.lock": ""},
			Options{},
			Node,
			"# The versions in yarn.lock do not count; to have them, run `npm install --package-lock-only`.\n" + node +
				"COPY package.json ./\nRUN npm install --omit=dev\nCOPY . .\nCMD [\"node\",\"yarn/a.js\"]\n",
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
		"empty Dockerfile":   {map[string]string{"Dockerfile": " \n"}, Options{}, "Dockerfile is empty"},
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
		"Pipfile": {
			map[string]string{"main.py": "", "Pipfile": "[packages]"},
			Options{},
			"Pipfile lists packages, and pip does not read it; run `pipenv lock && pipenv requirements",
		},
		"Pipfile.lock": {map[string]string{"main.py": "", "Pipfile.lock": "{}"}, Options{}, "run `pipenv requirements"},
		"pdm.lock": {
			map[string]string{"main.py": "", "pdm.lock": "", "pyproject.toml": "[tool.pdm]"},
			Options{},
			"pdm.lock lists packages, and pip does not read it; run `pdm export",
		},
		"uv.lock":         {map[string]string{"main.py": "", "uv.lock": ""}, Options{}, "uv export"},
		"environment.yml": {map[string]string{"main.py": "", "environment.yml": ""}, Options{}, "in requirements.txt"},
		"groups only": {
			map[string]string{"main.py": "", "pyproject.toml": "[project]\nname = 'x'\n[dependency-groups]\na = ['x']"},
			Options{},
			"in [dependency-groups] only",
		},
		"setup.cfg alone": {
			map[string]string{"main.py": "", "setup.cfg": "install_requires =\n redis"},
			Options{},
			"pip reads it only beside a setup.py",
		},
		"requirements in a directory": {
			map[string]string{"main.py": "", "requirements/base.txt": "", "requirements/dev.txt": "",
				"requirements/prod.txt": ""},
			Options{},
			"with the line `-r requirements/prod.txt`",
		},
		"requirements of another name": {
			map[string]string{"main.py": "", "requirements-dev.txt": "", "my-requirements.txt": ""},
			Options{},
			"with the line `-r my-requirements.txt`",
		},
		"a start with a tool": {
			map[string]string{"package.json": `{"scripts":{"start":"NODE_ENV=x tsx a.ts"},"devDependencies":{"tsx":"4"}}`},
			Options{},
			"scripts.start in package.json of",
		},
		"a start that loads a tool": {
			map[string]string{
				"package.json": `{"scripts":{"start":"node -r ts-node/register a.ts"},"devDependencies":{"ts-node":"4"}}`,
				"a.ts":         "",
			},
			Options{},
			"needs ts-node, which is of devDependencies",
		},
		"an installation with a tool": {
			map[string]string{
				"package.json": `{"scripts":{"postinstall":"npm run b","b":"tsc -p ."},"devDependencies":{"typescript":"5"}}`,
				"index.js":     "",
			},
			Options{},
			"scripts.postinstall in package.json of",
		},
		"node without build": {
			map[string]string{"package.json": `{"main":"dist/a.js"}`},
			Options{},
			"`node dist/a.js`, and no such file is there",
		},
		"a list for package.json": {map[string]string{"package.json": "[1]"}, Options{}, "json: the whole is of "},
		"a list of scripts": {
			map[string]string{"package.json": `{"scripts":[]}`},
			Options{},
			"json: scripts is of another kind",
		},
		"a number for a project": {
			map[string]string{"main.py": "", "pyproject.toml": "\nproject = 3"},
			Options{},
			"toml: line 2: a value is of another kind",
		},
		"half a table": {
			map[string]string{"main.py": "", "pyproject.toml": "\n[project\n"},
			Options{},
			"toml: line 2: expected character ]",
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

// TestOpen_Pipe: what is no file is refused where a file is read, and not waited for.
func TestOpen_Pipe(t *testing.T) {
	t.Parallel()
	for pipe, beside := range map[string]string{
		".dockerignore":           "Dockerfile",
		"Dockerfile.dockerignore": "Dockerfile",
		"package.json":            "index.js",
		"pyproject.toml":          "main.py",
		"requirements.txt":        "main.py",
	} {
		dir := directory(t, map[string]string{beside: "FROM scratch"})
		if err := syscall.Mkfifo(filepath.Join(dir, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), pipe+" is not a file") {
			t.Errorf("%s: got %v", pipe, err)
		}
	}
}

func TestHasStage(t *testing.T) {
	t.Parallel()
	s, err := Open(directory(t, map[string]string{"Dockerfile": "ARG V=3\nfrom --platform=$BUILDPLATFORM python:$V " +
		"as Build\r\n" +
		"RUN echo FROM here\nFROM scratch\nFROM x \\\n  AS last\n"}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"build": true, "last": true, "0": true, "2": true, "3": false, "here": false, "scratch": false,
	} {
		if got := s.HasStage(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
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
