# crawlbox: `make demo` runs the main job, `make test` passes the tests.
# Both need root and Go, and install what else is missing with apt.

GO       ?= go
BIN      := bin/crawlbox
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/crawlbox/crawlbox/appliance/cli.version=$(VERSION)
# Without gRPC's tracing pages, which nothing serves, it is 0.3 MB smaller, and without
# inlining in the Redis client, which has a method for each of Redis' commands, 2 MB; in
# compose-go, which only reads a file, and in the clients of Docker and BuildKit and their gRPC, which
# wait for answers, it saves 0.7 MB more; so do what reads YAML, flags, schemas and images,
# what traces, measures and gossips, what speaks D-Bus and Lua, the command line, what nodes ask each other,
# and what decides for people, who do not notice.
FLAGS    := -trimpath -tags grpcnotrace -gcflags='github.com/redis/go-redis/...=-l' -gcflags='github.com/compose-spec/...=-l' \
            -gcflags='github.com/moby/buildkit/...=-l' -gcflags='github.com/docker/docker/...=-l' \
            -gcflags='google.golang.org/grpc/...=-l' -gcflags='go.opentelemetry.io/...=-l' \
            -gcflags='go.yaml.in/...=-l' -gcflags='github.com/miekg/dns/...=-l' -gcflags='github.com/gogo/...=-l' \
            -gcflags='github.com/santhosh-tekuri/...=-l' -gcflags='github.com/google/go-containerregistry/...=-l' \
            -gcflags='github.com/prometheus/...=-l' -gcflags='github.com/spf13/...=-l' \
            -gcflags='github.com/hashicorp/...=-l' -gcflags='github.com/pelletier/...=-l' \
            -gcflags='github.com/godbus/...=-l' -gcflags='github.com/yuin/...=-l' \
            -gcflags='github.com/distribution/distribution/...=-l' -gcflags='github.com/robfig/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/agent/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/cluster/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/control/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/controller/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/deploy/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/alerts/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/api/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/swarm/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/image/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/doctor/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/configs/...=-l' \
            -gcflags='google.golang.org/protobuf/...=-l' \
            -gcflags='github.com/crawlbox/crawlbox/appliance/cli/...=-l'
UNIT     := $(shell $(GO) list ./... 2>/dev/null | grep -v -e /appliance/lab -e /appliance/e2e)
FUZZTIME ?= 60s
TIMEOUT  ?= 20m
BENCH    ?= .
BENCHTIME ?= 1x

BUILD    := CGO_ENABLED=0 $(GO) build $(FLAGS) -ldflags '$(LDFLAGS)'
DIST     := dist/crawlbox-linux-amd64 dist/crawlbox-linux-arm64

.PHONY: build dist dist-check man $(DIST) demo test unit lint e2e check-upgrade check-tcl soak bench fuzz help lab-clean deps clean

build:
	$(BUILD) -o $(BIN) .

# The release: static binaries, what each is made of (CycloneDX), and checksums of all.
# The version says the commit; Go's own stamp would differ between a clone and a tarball.
dist: $(DIST)
	cd dist && sha256sum $(notdir $(DIST)) $(notdir $(DIST:=.cdx.json)) >SHA256SUMS

$(DIST): dist/crawlbox-linux-%:
	GOOS=linux GOARCH=$* $(BUILD) -buildvcs=false -o $@ .
	$(GO) run ./appliance/release/cmd/sbom $@ $(VERSION) >$@.cdx.json

# Builds the release a second time, elsewhere and from nothing: it has to be the same.
dist-check: dist
	.ci/reproducible $(VERSION)

# Man pages, for packagers.
man:
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(GO) run ./appliance/release/cmd/man dist/man $(VERSION)

demo:
	.ci/deps --docker-only
	$(MAKE) build
	.ci/with-docker $(BIN) demo

test: deps lint unit e2e

deps:
	.ci/deps

# The simulations of the exchange go without the race detector, which breaks under
# that many goroutines with a simulated clock (golang/go#78156).
unit:
	CRAWLBOX_TEST_ALL=1 $(GO) test -race -shuffle=on -timeout 10m $(UNIT)
	CRAWLBOX_TEST_ALL=1 $(GO) test -shuffle=on -timeout 10m ./embedded/mirror/exchange

# The hosts of the lab are real Docker Engines: one package after the other. Scenarios
# wait more than they work, so that there is room for one more than processors.
e2e: build
	CRAWLBOX_BIN=$(CURDIR)/$(BIN) $(GO) test -race -shuffle=on -p 1 -parallel 3 -timeout 60m ./appliance/lab/... ./appliance/e2e/...

# One scenario, such as `make check-Walkthrough`.
check-%: build
	CRAWLBOX_BIN=$(CURDIR)/$(BIN) $(GO) test -race -v -count=1 -timeout $(TIMEOUT) -run 'Test$*' ./appliance/e2e/...

# From an earlier version to this one and back, with a crawl running, such as
# `make check-upgrade FROM=v1.0`.
BEFORE := .cache/before
check-upgrade:
	git worktree add --force --detach $(BEFORE)/tree $(FROM)
	cd $(BEFORE)/tree && CGO_ENABLED=0 $(GO) build $(FLAGS) -tags grpcnotrace,failpoints \
	  -ldflags '-X github.com/crawlbox/crawlbox/appliance/cli.version=$(FROM)' -o ../crawlbox .
	git worktree remove --force $(BEFORE)/tree
	CRAWLBOX_BEFORE=$(CURDIR)/$(BEFORE)/crawlbox $(GO) test -race -v -count=1 -tags before -timeout 30m \
	  -run TestUpgradeFrom ./appliance/e2e/...

# Valkey's own tests through the queue's front, beside the same without it. VALKEY is a directory with its source, in
# which make was run; tclsh has to be there.
check-tcl:
	VALKEY=$(VALKEY) $(GO) test -tags tcl -v -count=1 -timeout 60m -run TestTcl ./embedded/queue/front

# Ten minutes of everything that can happen to the queue's process, ten times each harm that can be done to the
# manager that leads, and 2,000 items for each program that the queue keeps them for; make test has 20 s, two, and 120.
soak:
	CRAWLBOX_KILLED=2000 $(GO) test -v -count=1 -parallel 3 -timeout 60m -run TestKilled ./embedded/queue/clients
	CRAWLBOX_SOAK=10m $(MAKE) check-Soak
	CRAWLBOX_FAILOVERS=20 $(MAKE) check-Valkey TIMEOUT=60m
	CRAWLBOX_CHAOS=10 $(MAKE) check-Chaos TIMEOUT=90m
	CRAWLBOX_CLIENTS=5m $(MAKE) check-QueueClients TIMEOUT=60m

# How the code is formatted, what the analysers of .ci/lint say, those of go vet among them,
# and known vulnerabilities, where their database can be reached.
lint:
	$(GO) mod tidy -diff
	$(GO) build -C .ci/lint -o $(CURDIR)/.cache/bin/lint .
	.cache/bin/lint

# All benchmarks, or some, such as `make bench BENCH=Images/20-hosts-20mbit`.
bench: build
	CRAWLBOX_BIN=$(CURDIR)/$(BIN) $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count 1 -timeout 60m ./...

# Every fuzz test of the module, one after the other; their files are in memory, since what is tried syncs a lot.
fuzz: export TMPDIR := $(firstword $(wildcard /dev/shm /tmp))
fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$pkg || exit 1; \
	  done; \
	done

# The page of the manual that lists all commands.
help:
	$(GO) generate ./appliance/help

# What a killed test left behind.
lab-clean:
	$(GO) run ./appliance/lab/cmd/lab clean

clean:
	rm -rf bin dist
