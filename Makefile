SHELL := /bin/bash
# `make run` tries it, `make test` proves it. Each target installs what it needs; scripts/ holds the how.
.PHONY: help run build test test-long lint format image bench fuzz clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## build it and run it with two demo services on this machine
	@scripts/install.sh build
	@scripts/run.sh

build: ## the release binary: .build/release/interlock
	@scripts/install.sh build
	@scripts/build.sh

test: ## every test; PART="unit e2e" runs only those parts (see scripts/test.py)
	@scripts/install.sh build test
	@. scripts/environment.sh && exec .venv/bin/python scripts/test.py $(PART)

test-long: ## the same with the tests that take minutes
	@scripts/install.sh build test
	@. scripts/environment.sh && exec .venv/bin/python scripts/test.py --long $(PART)

lint: ## format and syntax
	@scripts/lint.sh

format: ## format the Swift files in place
	@scripts/lint.sh --fix

image: ## docker/rootfs and the image interlock:latest (IMAGE=name:tag)
	@scripts/install.sh build
	@scripts/image.sh $(IMAGE)

bench: ## against haproxy and nginx in the same run
	@scripts/install.sh build bench
	@scripts/bench.sh

fuzz: ## libFuzzer over what reads outside bytes, FUZZ_SECONDS each (60)
	@scripts/install.sh build
	@. scripts/environment.sh && exec Tests/Fuzz/run.sh $(or $(FUZZ_SECONDS),60)

clean: ## build products (and nothing else)
	rm -rf .build .build-asan .build-tsan docker/rootfs docker/rootfs.owned
