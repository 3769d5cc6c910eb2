# `make` alone lists the targets. Parameters: KEEP=1 with demo, RUNS and AT_MOST with
# bench, DURATION and SEED with chaos, FUZZTIME with fuzz, SEEDS with simulation,
# VERSION with build, IMAGE and VERSION with image and docker.
.DEFAULT_GOAL := help
.NOTPARALLEL: # the parts of test share the processors
SHELL := /bin/bash -o pipefail

RUNS     ?= 10
AT_MOST  ?= 1h
FUZZTIME ?= 30s
SEEDS    ?= 10000
IMAGE    ?= ghcr.io/vipd-io/vipd
DIST     ?= dist
DOCKER   ?= docker
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The version comes from VERSION alone, so nothing else of git enters a binary.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# No paths, no dates: the same source and toolchain give the same bytes.
GOBUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/vipd, static
	$(GOBUILD) -o bin/vipd ./cmd/vipd

.PHONY: demo
demo: deps ## watch failovers in a real control plane on this machine (root; KEEP=1 leaves it running)
	cd e2e && go run ./cmd/lab demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: demo-doctor
demo-doctor: deps ## see what vipd doctor says of three faults, in a minute (root)
	@cd e2e && go run ./cmd/lab build && go run ./cmd/lab demo-doctor

.PHONY: bench
bench: deps ## measure vipd beside keepalived, RUNS=10 times, in AT_MOST=1h; writes docs/benchmarks (root)
	cd e2e && go run ./cmd/lab bench --runs $(RUNS) --at-most $(AT_MOST) --write ../docs/benchmarks --readme ../README.md

.PHONY: scale
scale: deps ## measure the cost of 3 to 100 nodes and of 1 to 16 VIPs; ten minutes (root)
	cd e2e && go run ./cmd/lab scale

.PHONY: chaos
chaos: deps ## break a control plane in all ways once, or for DURATION=2h; SEED=... repeats (root)
	cd e2e && go run ./cmd/lab chaos $(if $(DURATION),--for $(DURATION)) $(if $(SEED),--seed $(SEED)) --keep

.PHONY: undone
undone: deps ## break each promise of vipd on purpose and have the faults show it; ten minutes (root)
	cd e2e && go run ./cmd/lab build && go test -v -count=1 -timeout 40m ./undone -undone all

.PHONY: chaos-replay
chaos-replay: ## judge a report of chaos again, REPORT=e2e/reports/...
	@cd e2e && go run ./cmd/lab chaos-replay $(abspath $(REPORT))

.PHONY: test
test: deps lint test-unit model test-lab ## all that CI does: style, units, model, lab (root)

.PHONY: deps
deps: ## install what the tests need besides Go, where it is missing
	@hack/install-deps

.PHONY: lint
lint: ## check style and the directions of imports, in both modules
	hack/golangci-lint run ./...
	cd e2e && ../hack/golangci-lint run ./...

.PHONY: test-unit
test-unit: ## test the product with the race detector, in network namespaces (root)
	CGO_ENABLED=1 go test -race -shuffle=on ./...

.PHONY: test-lab
test-lab: ## test it in real control planes; takes minutes (root)
	cd e2e && go run ./cmd/lab build && go test -count=1 -p 1 -timeout 30m ./...

.PHONY: test-kubeadm
test-kubeadm: deps ## of test-lab, only kubeadm init and join with vipd as a static pod, and what befalls it (root)
	cd e2e && go run ./cmd/lab build && go test -v -count=1 -timeout 20m ./kubeadm

.PHONY: test-capi
test-capi: deps ## of test-lab, only Cluster API's own API, webhooks and controllers with what vipd writes for them (root)
	cd e2e && go run ./cmd/lab build && go test -v -count=1 -timeout 20m ./capi

.PHONY: fuzz
fuzz: ## fuzz each parser for FUZZTIME=30s
	hack/fuzz $(FUZZTIME)

.PHONY: model
model: deps ## search every state of a model of the election; two minutes
	hack/model/check

.PHONY: simulation
simulation: ## play SEEDS=10000 stories of whole nodes in fake time, and as many with one fence of three; minutes
	go test -v -count=1 -timeout 0 ./internal/simulation -run '^Test(Nodes|(Fence|Lifetime|Process)Alone)$$' -seeds $(SEEDS)

.PHONY: image
image: ## write the container image, as an OCI archive; needs no engine and no registry
	GOOS=linux GOARCH=amd64 $(GOBUILD) -o bin/linux-amd64/vipd ./cmd/vipd
	@mkdir -p $(DIST)
	@cd e2e && go run ./cmd/image -name $(IMAGE) -version $(VERSION) -binary ../bin/linux-amd64/vipd \
		-output $(abspath $(DIST))/vipd-$(VERSION)-linux-amd64.tar

.PHONY: docker
docker: ## build the container image from the Dockerfile, with DOCKER=docker
	$(DOCKER) build --build-arg VERSION=$(VERSION) -t $(IMAGE):$(VERSION) .

.PHONY: repro
repro: build ## build again elsewhere with an empty cache, and compare
	hack/repro bin/vipd $(VERSION)

.PHONY: clean
clean: ## remove what was built here; caches stay (go clean -cache, lab down --all)
	rm -rf bin dist e2e/reports
