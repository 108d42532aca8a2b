# SPDX-License-Identifier: MIT
#
# make            build/cbx-hub and build/cbx-agent
# make demo       a hub and two leases at work, about half a minute
# make test       unit, simulator and end-to-end tests; ends with "N passed, N failed"
# make check      build, unit, simulator without sanitizers, a few end-to-end tests: the inner loop
# make test-full  the same with the loads at full size
# make lint       what .ci/run checks beside the tests
# make unit T=x   only the unit tests whose name holds x; the same for sim, e2e and fuzz
# make alloc      the unit tests with each allocation failing in turn (T=x as above)
# make valgrind   the unit tests under memcheck
# make coverage   what unit and simulator reach, by gcov (KINDS='unit sim e2e': end to end, too)
# make planes     streams and fronts end to end, on each plane by itself
# make e2e-asan   the end-to-end tests with sanitized programs
# make bench      the quick benchmarks, into bench/RESULTS.md; BENCH_ARGS=--full for the long ones
# make bench-peers  rathole and bore by cargo, frp and chisel by go, for the benchmarks to compare with
# make install    under PREFIX (/usr/local), below DESTDIR
#
# Objects live under build/ for the programs and under build/asan/ for tests (address and undefined
# behaviour sanitizers). CC=clang, CFLAGS, V=1 (whole command lines) and BUILD=DIR do what they say.

PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
CFLAGS  ?= -O2 -g
PYTHON  ?= /usr/bin/python3
FUZZ_SECONDS ?= 20
export FUZZ_SECONDS FUZZ_RUNS
ifeq ($(origin CC),default)
CC := gcc
endif

# As many jobs as cores, unless the caller said otherwise.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j% --jobs%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
endif

Q := $(if $(V),,@)
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

# ---- flags ----

# Asked for once, and only when something compiles: pkg-config may not be there before deps.
MODULES     := libssh2 libsodium libcurl libcrypto jansson msgpack inih
PKG_CFLAGS   = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(MODULES)))$(PKG_CFLAGS)
DLOPEN      := $(if $(filter Linux,$(shell uname -s)),-ldl)
HUB_LIBS     = $(eval HUB_LIBS := $$(shell pkg-config --libs $(filter-out libssh2 libcurl,$(MODULES))) -lev $(DLOPEN))$(HUB_LIBS)
AGENT_LIBS   = $(eval AGENT_LIBS := $$(shell pkg-config --libs $(MODULES)) -lev -lhttp_parser $(DLOPEN))$(AGENT_LIBS)

# libev's watchers are cast to each other, which strict aliasing forbids.
BASE := -std=gnu17 -D_GNU_SOURCE -fno-strict-aliasing -fPIE
WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
HARD := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
LINK := -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed
SAN  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

# For valgrind; for gcov.
PLAIN := -O1 -g -fno-omit-frame-pointer
COV   := -O0 -g --coverage -fprofile-update=atomic

# What the failing runs take over from cmocka and the tests.
FAILING_WRAP := -Wl,--wrap=_cmocka_run_group_tests,--wrap=__assert_fail,--wrap=mkdtemp,--wrap=mkstemp

# Comparisons are not traced: seeds know the constants, and a third of the time is saved.
FUZZ_COVERAGE := -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp

# Under the sanitizers gcc sees truncation where there is none, as its manual warns.
SAN_WARN := $(if $(findstring clang,$(CC)),,-Wno-format-truncation)

include_of = -I. $(if $(filter tests/% bench/%,$1),-Itests/lib -Itests/sim -Itests/fuzz)

# ---- what there is ----

# Of the names, those that hold T.
asked = $(if $(T),$(foreach name,$1,$(if $(findstring $(T),$(name)),$(name))),$1)

COMMON := $(wildcard common/*/*.c)
HUB    := $(wildcard hub/*.c hub/*/*.c)
AGENT  := $(wildcard agent/*.c agent/*/*.c)
FAILING := $(wildcard tests/lib/failing_*.c)
TESTLIB := $(filter-out $(FAILING),$(wildcard tests/lib/*.c))
SIMLIB := $(filter-out tests/sim/sim_%,$(wildcard tests/sim/*.c))
# The simulator's programs whose allocations are made to fail too: they reach the engines.
ALLOC_SIM := sim_streams sim_hostile_handshakes sim_hostile_trust sim_hostile_circuits sim_rendezvous
UNIT   := $(call asked,$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c)))
SIM    := $(call asked,$(patsubst tests/sim/%.c,%,$(wildcard tests/sim/sim_*.c)))
FUZZ   := $(call asked,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*/*/fuzz_*.c)))
BENCH  := load $(patsubst bench/%.c,%,$(wildcard bench/*.c))
HEADERS := $(wildcard common/*/*.h hub/*/*.h agent/*/*.h tests/*/*.h tests/*/*/*/*.h bench/*/*.h)
SOURCES := $(COMMON) $(HUB) $(AGENT) $(wildcard tests/*/*.c tests/*/*/*.c tests/*/*/*/*.c bench/*.c bench/*/*.c)

PROGRAMS := $(BUILD)/cbx-hub $(BUILD)/cbx-agent
UNIT_PROGRAMS := $(UNIT:%=$(BUILD)/asan/unit/%)
ALLOC_PROGRAMS := $(UNIT:%=$(BUILD)/alloc/unit/%) $(patsubst %,$(BUILD)/alloc/%,$(call asked,$(ALLOC_SIM)))
PLAIN_PROGRAMS := $(UNIT:%=$(BUILD)/plain/unit/%)
PLAIN_SIM := $(SIM:%=$(BUILD)/plain/%)
COV_PROGRAMS := $(UNIT:%=$(BUILD)/cov/unit/%) $(SIM:%=$(BUILD)/cov/%) \
	$(BUILD)/cov/cbx-hub $(BUILD)/cov/cbx-agent
SIM_PROGRAMS  := $(SIM:%=$(BUILD)/asan/%)
FUZZ_PROGRAMS := $(FUZZ:%=$(BUILD)/fuzz/run/%)

# $(call objects,DIRECTORY,SOURCES)
objects = $(patsubst %.c,$1/obj/%.o,$2)

.PHONY: all deps demo test test-full check unit sim alloc valgrind coverage e2e planes e2e-asan lint fuzz bench bench-programs bench-peers install uninstall clean help \
	programs test-programs print-sources print-headers force

all: programs
programs: $(PROGRAMS)
test-programs: $(UNIT_PROGRAMS) $(SIM_PROGRAMS) $(ALLOC_PROGRAMS) $(PLAIN_PROGRAMS) $(FUZZ_PROGRAMS)

help:
	@sed -n '3,18s/^# \{0,1\}//p' Makefile

# ---- libraries and tools ----

# What the goals need. One call, so that two never install at once.
GOALS := $(or $(MAKECMDGOALS),all)
NEEDS := build \
	$(if $(filter demo,$(GOALS)),demo) \
	$(if $(filter test test-full check unit sim alloc valgrind coverage e2e planes e2e-asan \
		test-programs,$(GOALS)),demo test) \
	$(if $(filter bench bench-programs,$(GOALS)),demo bench) \
	$(if $(filter lint,$(GOALS)),test lint) \
	$(if $(filter fuzz,$(GOALS)),test) \
	$(if $(filter deps,$(GOALS)),demo test bench)

deps:
	@CC="$(CC)" tests/lib/deps $(sort $(NEEDS) $(DEPS))

# ---- rules ----

# A file that changes only when the command does: other flags or another compiler rebuild.
# $(call remember,TEXT)
define remember
$(Q)mkdir -p $(@D); text='$(strip $1)'; \
	[ "$$text" = "$$(cat $@ 2>/dev/null)" ] || printf '%s\n' "$$text" >$@
endef

$(BUILD)/.flags: force
	$(call remember,$(CC) $(BASE) $(WARN) $(HARD) $(CFLAGS) $(CPPFLAGS) $(LINK) $(LDFLAGS))
$(BUILD)/asan/.flags: force
	$(call remember,$(CC) $(BASE) $(WARN) $(SAN) $(SAN_WARN) $(CPPFLAGS) $(LDFLAGS))
$(BUILD)/plain/.flags: force
	$(call remember,$(CC) $(BASE) $(WARN) $(PLAIN) $(SAN_WARN) $(CPPFLAGS) $(LDFLAGS))
$(BUILD)/cov/.flags: force
	$(call remember,$(CC) $(BASE) $(WARN) $(COV) $(SAN_WARN) $(CPPFLAGS) $(LDFLAGS))
$(BUILD)/fuzz/.flags: force
	$(call remember,clang $(BASE) $(WARN) $(SAN) $(FUZZ_COVERAGE) $(CPPFLAGS) $(LDFLAGS))

# $(call compile,FLAGS,COMPILER): $(CC) where none is named.
define compile
$(if $(Q),@echo "  CC  $@")
$(Q)mkdir -p $(@D)
$(Q)$(or $2,$(CC)) $(BASE) $(WARN) $1 $(call include_of,$<) $(PKG_CFLAGS) $(CPPFLAGS) -MMD -MP -c $< -o $@
endef
# $(call link,FLAGS,LIBRARIES,COMPILER)
define link
$(if $(Q),@echo "  LD  $@")
$(Q)mkdir -p $(@D)
$(Q)$(or $3,$(CC)) $1 $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $2 -o $@
endef
define archive
$(Q)mkdir -p $(@D); rm -f $@; ar rcs $@ $(filter %.o,$^)
endef

# The sanitized objects first: the shorter pattern would match them too.
$(BUILD)/asan/obj/%.o: %.c $(BUILD)/asan/.flags | deps
	$(call compile,$(SAN) $(SAN_WARN))
$(BUILD)/plain/obj/%.o: %.c $(BUILD)/plain/.flags | deps
	$(call compile,$(PLAIN) $(SAN_WARN))
$(BUILD)/cov/obj/%.o: %.c $(BUILD)/cov/.flags | deps
	$(call compile,$(COV) $(SAN_WARN))
$(BUILD)/fuzz/obj/%.o: %.c $(BUILD)/fuzz/.flags | deps
	$(call compile,$(SAN) $(if $(filter tests/lib/%,$<),,$(FUZZ_COVERAGE)),clang)
$(BUILD)/obj/%.o: %.c $(BUILD)/.flags | deps
	$(call compile,$(HARD) $(CFLAGS))

$(BUILD)/cbx-hub: $(call objects,$(BUILD),$(HUB) $(COMMON))
	$(call link,$(CFLAGS) $(LINK),$(HUB_LIBS))
$(BUILD)/cbx-agent: $(call objects,$(BUILD),$(AGENT) $(COMMON))
	$(call link,$(CFLAGS) $(LINK),$(AGENT_LIBS))

# The programs themselves under the sanitizers, for a slower, stricter end-to-end run.
$(BUILD)/asan/cbx-hub: $(call objects,$(BUILD)/asan,$(HUB) $(COMMON))
	$(call link,$(SAN) -pie,$(HUB_LIBS))
$(BUILD)/asan/cbx-agent: $(call objects,$(BUILD)/asan,$(AGENT) $(COMMON))
	$(call link,$(SAN) -pie,$(AGENT_LIBS))

# Everything but the two mains, for test programs.
LIBRARY := $(filter-out %/main.c,$(COMMON) $(HUB) $(AGENT)) $(TESTLIB)
$(BUILD)/asan/libcbx.a: $(call objects,$(BUILD)/asan,$(LIBRARY))
	$(archive)
$(BUILD)/libcbx.a: $(call objects,$(BUILD),$(LIBRARY))
	$(archive)

$(BUILD)/asan/unit/%: $(BUILD)/asan/obj/tests/unit/%.o $(BUILD)/asan/libcbx.a
	$(call link,$(SAN) -pie,$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/plain/libcbx.a: $(call objects,$(BUILD)/plain,$(LIBRARY))
	$(archive)
$(BUILD)/plain/unit/%: $(BUILD)/plain/obj/tests/unit/%.o $(BUILD)/plain/libcbx.a
	$(call link,$(PLAIN) -pie,$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/plain/sim_%: $(BUILD)/plain/obj/tests/sim/sim_%.o \
		$(call objects,$(BUILD)/plain,$(SIMLIB)) $(BUILD)/plain/libcbx.a
	$(call link,$(PLAIN) -pie,$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/cov/libcbx.a: $(call objects,$(BUILD)/cov,$(LIBRARY))
	$(archive)
$(BUILD)/cov/unit/%: $(BUILD)/cov/obj/tests/unit/%.o $(BUILD)/cov/libcbx.a
	$(call link,$(COV) -pie,$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/cov/sim_%: $(BUILD)/cov/obj/tests/sim/sim_%.o \
		$(call objects,$(BUILD)/cov,$(SIMLIB)) $(BUILD)/cov/libcbx.a
	$(call link,$(COV) -pie,$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/cov/cbx-hub: $(call objects,$(BUILD)/cov,$(HUB) $(COMMON))
	$(call link,$(COV) -pie,$(HUB_LIBS))
$(BUILD)/cov/cbx-agent: $(call objects,$(BUILD)/cov,$(AGENT) $(COMMON))
	$(call link,$(COV) -pie,$(AGENT_LIBS))
# The product's objects with each allocation renamed: see tests/lib/failing_alloc.h.
$(BUILD)/alloc/names: $(BUILD)/asan/obj/tests/lib/failing_alloc.o
	$(Q)mkdir -p $(@D); nm $< | sed -n 's/.* T failing_\(.*\)/\1 failing_\1/p' >$@
$(BUILD)/alloc/libcbx.a: $(BUILD)/alloc/names \
		$(call objects,$(BUILD)/asan,$(filter-out $(TESTLIB),$(LIBRARY)))
	$(archive)
	$(Q)objcopy --redefine-syms=$< $@
$(BUILD)/alloc/unit/%: $(BUILD)/asan/obj/tests/unit/%.o \
		$(call objects,$(BUILD)/asan,$(TESTLIB) $(FAILING)) $(BUILD)/alloc/libcbx.a
	$(call link,$(SAN) -pie $(FAILING_WRAP),$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/alloc/sim_%: $(BUILD)/asan/obj/tests/sim/sim_%.o \
		$(call objects,$(BUILD)/asan,$(SIMLIB) $(TESTLIB) $(FAILING)) $(BUILD)/alloc/libcbx.a
	$(call link,$(SAN) -pie $(FAILING_WRAP),$(AGENT_LIBS) -lcmocka -lm)
$(BUILD)/asan/sim_%: $(BUILD)/asan/obj/tests/sim/sim_%.o \
		$(call objects,$(BUILD)/asan,$(SIMLIB)) $(BUILD)/asan/libcbx.a
	$(call link,$(SAN) -pie,$(AGENT_LIBS) -lcmocka -lm)
# libFuzzer is clang's, whatever CC is.
$(BUILD)/fuzz/libcbx.a: $(call objects,$(BUILD)/fuzz,$(LIBRARY))
	$(archive)
$(BUILD)/fuzz/run/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/libcbx.a
	$(call link,$(SAN) -fsanitize=fuzzer -pie,$(AGENT_LIBS),clang)
# The simulator without what needs cmocka, for benchmarks of the engines.
BENCH_SIM := $(call objects,$(BUILD),$(filter-out tests/sim/hostile%,$(SIMLIB)))
$(BUILD)/bench/micro $(BUILD)/bench/scale: $(BENCH_SIM)
$(BUILD)/bench/scale: LINK += -Wl,--wrap=hub_core_flush -Wl,--wrap=mesh_flush
$(BUILD)/bench/load: $(call objects,$(BUILD),$(wildcard bench/load/*.c))
	$(call link,$(CFLAGS) $(LINK),-lsodium)
$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(BUILD)/libcbx.a
	$(call link,$(CFLAGS) $(LINK),$(AGENT_LIBS) -lm)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- running ----

RUN := $(PYTHON) tests/lib/collect.py --build $(BUILD) $(if $(T),--only '$(T)')

demo: programs
	@tests/lib/demo.sh $(BUILD)
test: programs test-programs
	@$(RUN) unit sim alloc valgrind fuzz e2e planes
check: programs $(PLAIN_PROGRAMS) $(PLAIN_SIM)
	@$(RUN) --tree plain unit sim smoke
test-full: export CBX_FULL := 1
test-full: programs test-programs
	@$(RUN) unit sim alloc valgrind fuzz e2e planes
unit: $(UNIT_PROGRAMS)
	@$(RUN) unit
sim: $(SIM_PROGRAMS)
	@$(RUN) sim
alloc: $(ALLOC_PROGRAMS)
	@$(RUN) alloc
valgrind: $(PLAIN_PROGRAMS)
	@$(RUN) valgrind
KINDS ?= unit sim
coverage: $(COV_PROGRAMS)
	@find $(BUILD)/cov -name '*.gcda' -delete
	@GCOV_ERROR_FILE=/dev/null $(RUN) --build $(BUILD)/cov --tree . $(KINDS) || echo "coverage: of a run in which something failed"
	@$(PYTHON) tests/lib/coverage.py $(BUILD)/cov
e2e: programs
	@$(RUN) e2e
planes: programs
	@$(RUN) planes
e2e-asan: $(BUILD)/asan/cbx-hub $(BUILD)/asan/cbx-agent
	@$(RUN) --build $(BUILD)/asan e2e
lint: deps
	@CBX_CLANG_FLAGS='$(BASE) $(WARN)' CBX_BUILD='$(BUILD)' tests/lib/lint

fuzz: $(FUZZ_PROGRAMS)
	@$(RUN) fuzz

bench-programs: programs $(BENCH:%=$(BUILD)/bench/%)
bench: bench-programs
	@BUILD=$(BUILD) bench/run $(BENCH_ARGS) --report bench/RESULTS.md

# Other programs for the same purpose, where cargo is.
bench-peers:
	@bench/get-peers $(BUILD)/peers

# ---- installing ----

BIN  := $(DESTDIR)$(PREFIX)/bin
MAN  := $(DESTDIR)$(PREFIX)/share/man/man1
COMP := $(DESTDIR)$(PREFIX)/share/bash-completion/completions

install: programs
	$(Q)install -d $(BIN) $(MAN) $(COMP)
	$(Q)install -m 755 $(PROGRAMS) $(BIN)
	$(Q)for page in $(wildcard hub/cbx-hub.1 agent/cbx-agent.1); do \
		install -m 644 $$page $(MAN); done
	$(Q)for file in $(wildcard hub/cbx-hub.bash agent/cbx-agent.bash); do \
		install -m 644 $$file $(COMP)/$$(basename $$file .bash); done

uninstall:
	$(Q)rm -f $(BIN)/cbx-hub $(BIN)/cbx-agent $(MAN)/cbx-hub.1 $(MAN)/cbx-agent.1 \
		$(COMP)/cbx-hub $(COMP)/cbx-agent

clean:
	$(Q)rm -rf $(BUILD)

# For the linters.
print-sources:
	@printf '%s\n' $(sort $(SOURCES))
print-headers:
	@printf '%s\n' $(sort $(HEADERS))
