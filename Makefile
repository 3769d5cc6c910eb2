# `make` alone lists the targets. Parameters: KEEP=1 with demo, RUNS and AT_MOST with
# bench, DURATION and SEED with chaos and chaos-kubelet, FUZZTIME with fuzz, SEEDS with simulation,
# VERSION with build, IMAGE and VERSION with image, release and docker.
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

# The packages of e2e that measure times: one package at a time, and nothing beside it (lab.Exclusive). A
# nice value is not enough: all network namespaces share the kernel's rtnl mutex, so a test at nice
# 19 that waits for a processor keeps the netlink calls of a lab waiting for seconds.
MEASURES = /e2e/(lab|observe|measure/.*|suites/(chaos|kubeadm|lone|status|undone))$$

# The architectures of binaries and images.
ARCHITECTURES = amd64 arm64

# Only VERSION sets the version, so a binary contains nothing else from git.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# No paths, no dates: the same source and toolchain give the same bytes.
GOBUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/vipd-io/vipd/internal/version.version=$(VERSION)"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/vipd, static
	$(GOBUILD) -o bin/vipd ./cmd/vipd

.PHONY: demo
demo: deps-demo ## watch failovers in a real control plane on this machine (root; KEEP=1 leaves it running)
	@hack/lab demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: demo-doctor
demo-doctor: deps-demo-doctor ## show the output of vipd doctor for three faults, in a minute (root)
	@hack/lab demo-doctor

.PHONY: demo-capi
demo-capi: deps-demo-capi ## watch Cluster API and CAPV make a control plane behind the VIP, two workers, and a rollout (root)
	@hack/lab build && cd e2e && go test -c -vet=off -o ../bin/demo-capi ./suites/capi && cd suites/capi && ../../../bin/demo-capi -test.run '^TestDemo$$' -demo

.PHONY: bench
bench: deps-bench ## measure vipd and keepalived, RUNS=10 times, in AT_MOST=1h; writes docs/benchmarks (root)
	hack/lab bench --runs $(RUNS) --at-most $(AT_MOST) --write ../docs/benchmarks --readme ../README.md

.PHONY: scale
scale: deps-scale ## measure the cost of 3 to 100 nodes and of 1 to 16 VIPs; ten minutes (root)
	hack/lab scale

.PHONY: chaos
chaos: deps-chaos ## inject all faults into a control plane once, or for DURATION=2h; SEED=... repeats (root)
	hack/lab chaos $(if $(DURATION),--for $(DURATION)) $(if $(SEED),--seed $(SEED)) --keep

.PHONY: chaos-kubelet
chaos-kubelet: deps-chaos-kubelet ## the same on nodes where kubelet runs vipd and the control plane as static pods (root)
	hack/lab chaos --kubelet $(if $(DURATION),--for $(DURATION)) $(if $(SEED),--seed $(SEED)) --keep

.PHONY: undone
undone: deps-undone ## mutation tests: break each promise of vipd, and check that a fault reveals it; ten minutes (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 40m ./suites/undone -undone all

.PHONY: chaos-replay
chaos-replay: ## judge a report of chaos again, REPORT=e2e/reports/...
	@hack/lab chaos-replay $(abspath $(REPORT))

.PHONY: test
test: deps-all ## what CI runs: style, units, model, lab; ends with a table of minutes (root)
	@hack/test lint model test-unit+test-beside test-measures

.PHONY: nightly
nightly: deps-all ## what takes longer: all searches, faults, mutations and scenarios; hours (root)
	@hack/test model-all simulation chaos chaos-kubelet undone test-recovery test-lone test-kubernetes test-capi test-capi-loop test-capi-upgrade

.PHONY: deps
deps: ## install the missing packages that the tests need besides Go
	@hack/install-deps

# Each other target installs what it needs, and checks the machine before it builds for minutes.
deps-model:
	@hack/install-deps model
deps-%:
	@hack/install-deps $* && hack/preflight $*

.PHONY: bin/gotest
bin/gotest: # renamed, because another part of the tests may start it at this moment
	@cd e2e && go build -o ../$@.$$$$ ./cmd/gotest && mv ../$@.$$$$ ../$@

.PHONY: lint
lint: ## check style and the directions of imports, in both modules
	@hack/download . e2e
	hack/golangci-lint run ./...
	cd e2e && ../hack/golangci-lint run ./...

.PHONY: test-unit
# The simulation runs few scenarios with the race detector, and many without it.
test-unit: bin/gotest ## test the product with the race detector, in network namespaces (root)
	@hack/download .
	@status=0; \
	CGO_ENABLED=1 bin/gotest -vet=off -race -shuffle=on ./... || status=1; \
	bin/gotest -vet=off -shuffle=on ./internal/simulation || status=1; \
	exit $$status

.PHONY: test-lab
test-lab: test-beside test-measures ## test vipd in real control planes; takes minutes (root)

.PHONY: test-beside
test-beside: bin/gotest ## only the part of test-lab that measures no times (root)
	hack/lab build
	@cd e2e && ../bin/gotest -vet=off -count=1 -p 2 -timeout 30m $$(go list ./... | grep -vE '$(MEASURES)')

.PHONY: test-measures
test-measures: bin/gotest ## only the part of test-lab that measures times (root)
	hack/lab build
	@cd e2e && ../bin/gotest -vet=off -count=1 -p 1 -timeout 30m $$(go list ./... | grep -E '$(MEASURES)')

.PHONY: test-recovery
test-recovery: deps-test-recovery ## a control plane that is lost, repaired or rebuilt, watched over minutes; seven minutes (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 40m ./suites/recovery -all

.PHONY: test-lone
test-lone: deps-test-lone ## a control plane of one node whose processors and disk are busy for three minutes; part of nightly (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 20m ./suites/lone -run TestBusyForMinutes -load 3m

.PHONY: test-kubeadm
test-kubeadm: deps-test-kubeadm ## kubeadm init and join with vipd as a static pod, and all faults of that pod; K8S=1.36 for another version (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 20m ./suites/kubeadm -all

.PHONY: test-kubernetes
test-kubernetes: ## test-kubeadm with each version of Kubernetes that the lab can build; half an hour, and half an hour of builds (root)
	@for version in $(KUBERNETES); do K8S=$$version $(MAKE) --no-print-directory test-kubeadm || exit; done

.PHONY: test-capi
test-capi: deps-test-capi ## only the part of test-lab with the controllers of Cluster API, CAPV and IPAM (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 20m ./suites/capi

.PHONY: test-capi-loop
test-capi-loop: deps-test-capi-loop ## the life of a cluster that these controllers make: workers, a rollout, 1 to 3 nodes and back, a missing record, kube-vip to vipd; half an hour (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 90m ./suites/capi -run TestLoop -loop

.PHONY: test-capi-upgrade
test-capi-upgrade: deps-test-capi-loop ## another version of Kubernetes in such a cluster; builds the version before, the first time (root)
	hack/lab build && cd e2e && go test -v -count=1 -timeout 60m ./suites/capi -run TestLoopUpgrade -upgrade

.PHONY: fuzz
fuzz: ## fuzz each parser for FUZZTIME=30s
	hack/fuzz $(FUZZTIME)

.PHONY: model
model: deps-model ## search every state of the model of the election, if the model has changed; two minutes
	hack/model/check --new

.PHONY: model-all
model-all: deps ## the same with its largest searches; a quarter of an hour
	hack/model/check --all

.PHONY: simulation
simulation: ## run SEEDS=10000 scenarios of whole nodes in fake time, and as many with only one of the three fences; minutes
	go test -v -count=1 -timeout 0 ./internal/simulation -run '^Test(Nodes|(Fence|Lifetime|Process)Alone)$$' -seeds $(SEEDS)

.PHONY: image
image: $(ARCHITECTURES:%=build-%) ## write the container image for all architectures, as an OCI archive, without an engine and a registry
	@mkdir -p $(DIST)
	@cd e2e && go run ./cmd/image -name $(IMAGE) -version $(VERSION) $(foreach a,$(ARCHITECTURES),-binary $(a)=../bin/linux-$(a)/vipd) \
		-output $(abspath $(DIST))/vipd-$(VERSION)-image.tar

.PHONY: $(ARCHITECTURES:%=build-%)
$(ARCHITECTURES:%=build-%): build-%:
	GOOS=linux GOARCH=$* $(GOBUILD) -o bin/linux-$*/vipd ./cmd/vipd

.PHONY: release
release: ## write a release: binaries and image for all architectures, checksums, SBOMs, notes from the CHANGELOG
	rm -rf $(DIST)/release && mkdir -p $(DIST)/release
	@$(MAKE) --no-print-directory image DIST=$(abspath $(DIST))/release
	@hack/release $(VERSION) $(IMAGE) $(abspath $(DIST))/release

.PHONY: docker
docker: ## build the container image from the Dockerfile, with DOCKER=docker
	$(DOCKER) build --build-arg VERSION=$(VERSION) -t $(IMAGE):$(VERSION) .

.PHONY: repro
repro: release ## write a release twice, the second one elsewhere with an empty cache, and compare; some minutes
	hack/repro $(abspath $(DIST))/release $(VERSION)

.PHONY: clean
clean: ## remove what was built in this folder; caches stay (go clean -cache, lab down --all)
	rm -rf bin dist e2e/reports
