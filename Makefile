# Verbs, nothing else. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
SECONDS_OF_SIM ?= 60

.PHONY: help setup build run test bench sim sim-mutants scenarios-rewrite fuzz format tidy ci clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what building and testing needs (Debian packages; as root or through sudo)
	tools/setup.sh test

build: ## the release binary at build/release/defib
	cmake --preset release >/dev/null
	cmake --build build/release --target defib -j $(JOBS)

run: ## set up, build, and watch a small fleet of real agents (Ctrl-C ends it)
	tools/setup.sh run
	@$(MAKE) --no-print-directory build
	examples/quickstart/run.sh

test: ## set up, build and pass everything
	tools/setup.sh test
	tools/test.sh

bench: ## the figures of docs/benchmarks.md on this machine
	cmake --preset release >/dev/null
	cmake --build build/release --target defib defib_bench -j $(JOBS)
	bench/run.sh

sim: ## the seeded simulator for SECONDS_OF_SIM seconds
	cmake --preset release >/dev/null
	cmake --build build/release --target defib_sim_program -j $(JOBS)
	build/release/defib_sim --seconds $(SECONDS_OF_SIM)

sim-mutants: ## plant one fault a rule and see each found
	python3 tools/mutants.py

scenarios-rewrite: ## write the expected output of tests/scenarios anew; read the diff
	cmake --preset release >/dev/null
	cmake --build build/release --target scenario_test -j $(JOBS)
	DEFIB_REWRITE=1 build/release/scenario_test

fuzz: ## the fuzzers, a minute each
	tools/fuzz.sh 60

format: ## clang-format over all of it
	git ls-files '*.cc' '*.h' | xargs clang-format-16 -i

tidy: ## clang-tidy over all of it (long)
	tools/tidy.sh all

ci: test ## what CI runs

clean:
	rm -rf build
