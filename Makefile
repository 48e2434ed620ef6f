# make           build build/lodge              make run    prepare what is missing, boot the guest
# make test      prepare, build, every test     make check  format, layers, headers
# make unit      unit tests only                make fuzz   build the fuzz targets (clang)
# make bench     figures per guest CPU          make bench-quick ARCH=riscv64
# make bench-guests ARCH=amd64   figures of guests as things that are kept
# make install PREFIX=/usr DESTDIR=             make test-long    with minutes of fuzzing
# make fuzz-soak SOAK="vhdx lan"                fuzz what is hostile for ten CPU-minutes each
# make test SAN=address,undefined               make BUILD=dir V=1 CC=clang
comma := ,
Q := $(if $(V),,@)
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build$(if $(findstring clang,$(CC)),-clang)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
PREFIX ?= /usr/local
ARCH ?= riscv64
# Seconds that the fuzz target of each parser runs in make test.
FUZZ_SECONDS ?= 3

PKGS := libfdt json-c libarchive libcrypto slirp liburing zlib libzstd zydis libseccomp
WARN := -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wundef -Wvla \
	-Wimplicit-fallthrough -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 \
	-Wno-string-conversion
CFLAGS ?= -O2 -g
# Pulled in by name: bookworm's libfdt and Zydis have no .pc file, libslirp's asks for all of glib's.
pkgs := $(filter-out libfdt slirp zydis,$(PKGS))
pkg_cflags := $(shell pkg-config --cflags $(pkgs) 2>/dev/null)
pkg_libs := $(shell pkg-config --libs $(pkgs) 2>/dev/null)
version := $(shell git describe --always --dirty --tags 2>/dev/null || cat VERSION 2>/dev/null)
override CFLAGS += -std=gnu17 -D_GNU_SOURCE -Isrc -I$(BUILD)/gen $(WARN) -MMD -MP \
	-fno-common -fstack-protector-strong -isystem /usr/include/slirp $(pkg_cflags) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover -DLODGE_SAN=1) \
	$(if $(findstring thread,$(SAN)),$(if $(findstring clang,$(CC)),,-Wno-tsan))
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN))
# libarchive is loaded when it is needed (store/tar.h); only tests call it by themselves.
LDLIBS := $(filter-out -larchive,$(pkg_libs)) -lfdt -lslirp -lZydis -lm
$(BUILD)/unit: override LDLIBS += -larchive

src   := $(sort $(wildcard src/*/*.c src/*/*/*.c))
hdr   := $(sort $(wildcard src/*/*.h src/*/*/*.h))
tests := $(filter %_test.c,$(src))
lib   := $(filter-out $(tests),$(src))
# Instructions compared with qemu; oracle_guest.c is what runs there.
oracle := $(filter-out %_guest.c,$(sort $(wildcard test/isa/oracle*.c)))
vector := $(filter-out %_guest.c,$(sort $(wildcard test/isa/vector*.c)))
fuzz  := $(sort $(wildcard test/fuzz/*_fuzz.c))
obj    = $(patsubst %.c,$(BUILD)/%.o,$(1))
gobj   = $(patsubst %.c,$(BUILD)/fuzz/%.o,$(1))

$(BUILD)/lodge: $(call obj,src/main.c $(lib))
$(BUILD)/unit: $(call obj,$(tests) $(lib))
# Started for each step of a container's life: nothing to load but itself.
$(BUILD)/zone.a: $(call obj,$(filter src/base/%.c src/zone/%.c,$(lib)))
	$(Q)rm -f $@; ar rc $@ $^
$(BUILD)/lodge-oci: $(call obj,src/oci.c) $(BUILD)/zone.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(if $(SAN),,-static -Wl$(comma)-S) $^ -ljson-c -lseccomp -o $@
$(BUILD)/oracle: $(call obj,$(oracle) $(lib))
$(BUILD)/vector: $(call obj,$(vector) $(lib))
$(BUILD)/chips: $(call obj,test/dev/chips.c $(lib))
$(BUILD)/diskops: $(call obj,test/blk/diskops.c $(lib))
$(BUILD)/interp_bench: $(call obj,bench/interp/interp_bench.c $(lib))
$(BUILD)/jit_bench: $(call obj,bench/jit/jit_bench.c $(lib))
$(BUILD)/lodge $(BUILD)/unit $(BUILD)/oracle $(BUILD)/vector $(BUILD)/chips $(BUILD)/diskops $(BUILD)/interp_bench $(BUILD)/jit_bench:
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(BUILD)/%.o: %.c
	@mkdir -p $(@D); echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) -c $< -o $@

# The guests' agent for this machine: zones have it from the program itself (src/zone/agent.c).
agent := $(BUILD)/gen/agent
$(agent): $(wildcard guests/agent/*.[ch])
	@mkdir -p $(@D); echo "  CC    $@"
	$(Q)cc -std=gnu17 -Os -static -s -Wl,--build-id=none guests/agent/*.c -o $@
$(call obj,src/zone/agent.c) $(call gobj,src/zone/agent.c): $(agent)
$(call obj,src/zone/agent.c) $(call gobj,src/zone/agent.c): override CFLAGS += -DAGENT_FILE='"$(abspath $(agent))"'

# Called while a guest's vectors are in the host's registers: x86_light.c.
$(call obj,$(addprefix src/engine/x86_,light.c far.c seg.c mmu.c window.c) src/engine/debug.c src/hw/gmem.c): \
	override CFLAGS += -mgeneral-regs-only

# A file appears here or goes: the program is linked anew.
sources := $(BUILD)/gen/sources
ifneq ($(shell cat $(sources) 2>/dev/null),$(strip $(src)))
$(shell mkdir -p $(BUILD)/gen && echo '$(strip $(src))' > $(sources))
endif
$(BUILD)/lodge $(BUILD)/unit: | $(sources)

# Libraries are looked for once; tools/deps gets what this names.
deps_ok := $(BUILD)/gen/deps.ok
$(deps_ok): Makefile
	@mkdir -p $(@D)
	$(Q)pkg-config --exists --print-errors $(pkgs) && \
		printf '#include <%s.h>\n' libfdt slirp/libslirp Zydis/Zydis | $(CC) -fsyntax-only -x c - || \
		{ echo "make: libraries are missing: run tools/deps" >&2; exit 1; }
	$(Q)touch $@

# The version is a file that changes only when the version does.
version_inc := $(BUILD)/gen/version.inc
ifneq ($(shell cat $(version_inc) 2>/dev/null),"$(version)")
$(shell mkdir -p $(BUILD)/gen && echo '"$(version)"' > $(version_inc))
endif

# Tables become C. The generators are host programs of ours, like every other tool.
isa := $(patsubst src/isa/%.isa,$(BUILD)/gen/isa/%,src/isa/rv64/rv64.isa)
x86 := $(foreach k,enum info sem,$(BUILD)/gen/isa/x86/x86.$(k).inc)
gen := $(foreach i,$(isa),$(i).enum.inc $(i).decode.inc $(i).info.inc $(i).sem.inc) $(x86) $(BUILD)/gen/syscall_names.inc
$(call obj,$(src) $(oracle) $(vector) test/dev/chips.c test/blk/diskops.c src/main.c src/oci.c bench/interp/interp_bench.c bench/jit/jit_bench.c) $(call gobj,$(lib) $(fuzz)): | $(gen) $(deps_ok)
$(BUILD)/tools/%: tools/%.c $(wildcard tools/*.h)
	@mkdir -p $(@D); echo "  HOSTCC $<"
	$(Q)cc -O1 -o $@ $<
define isa_rule
$(BUILD)/gen/isa/%.$(1).inc: src/isa/%.isa $(BUILD)/tools/isagen
	@mkdir -p $$(@D); echo "  GEN   $$@"
	$(Q)$(BUILD)/tools/isagen $$< $(1) > $$@.tmp && mv $$@.tmp $$@
endef
$(foreach k,enum decode info sem,$(eval $(call isa_rule,$(k))))
$(x86): $(BUILD)/gen/isa/x86/x86.%.inc: src/isa/x86/x86.isa $(BUILD)/tools/x86gen
	@mkdir -p $(@D); echo "  GEN   $@"
	$(Q)$(BUILD)/tools/x86gen $< $* > $@.tmp && mv $@.tmp $@

# What each class of threads may call, from the notes beside the code; and the numbers' names.
syscalls := $(BUILD)/gen/syscalls.inc
ifneq ($(shell tools/syscalls | cksum),$(shell cat $(syscalls) 2>/dev/null | cksum))
$(shell mkdir -p $(BUILD)/gen && tools/syscalls > $(syscalls))
endif
$(BUILD)/gen/syscall_names.inc: Makefile
	@mkdir -p $(@D); echo "  GEN   $@"
	$(Q)echo '#include <sys/syscall.h>' | $(CC) -E -dM -x c - | LC_ALL=C sort | \
		sed -n 's/^#define SYS_\([a-z0-9_]*\) .*/[SYS_\1] = "\1",/p' > $@

# What every commit must pass.
all-green: $(BUILD)/lodge $(BUILD)/lodge-oci check unit
unit: $(BUILD)/unit
	$(Q)$(BUILD)/unit
# Expected output of test/ir/*.ir as it is now: look at the difference before it is committed.
bless: $(BUILD)/unit
	$(Q)BLESS=1 $(BUILD)/unit ir_golden
check: $(gen)
	$(Q)tools/layers
	$(Q)clang-format --dry-run -Werror $(src) src/main.c src/oci.c $(hdr) $(fuzz) \
		$(wildcard test/dev/*.c test/blk/*.c test/isa/oracle*.[ch] test/isa/vector*.[ch] test/acpi/*.c bench/*/*.[ch] bench/*.c)
	$(Q)for h in $(hdr); do echo "#include \"../$$h\"" | \
		$(CC) $(filter-out -MMD -MP,$(CFLAGS)) -fsyntax-only -x c - || exit; done

# Fuzz targets: every object again, by clang, with edge counters and sanitizers.
fuzz_cflags = $(filter-out -fsanitize=%,$(CFLAGS)) -O1 -DLODGE_SAN=1 -DLODGE_FUZZ=1 \
	-fsanitize=address,undefined -fno-sanitize-recover
fuzz: $(patsubst test/fuzz/%.c,$(BUILD)/fuzz/%,$(fuzz))
$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D); echo "  FUZZCC $<"
	$(Q)clang $(fuzz_cflags) -fsanitize=fuzzer-no-link -c $< -o $@
$(BUILD)/fuzz/lib.a: $(call gobj,$(lib))
	$(Q)rm -f $@; ar rc $@ $^
$(BUILD)/fuzz/%_fuzz: $(BUILD)/fuzz/test/fuzz/%_fuzz.o $(BUILD)/fuzz/lib.a
	@echo "  LD    $@"
	$(Q)clang -pthread -fsanitize=fuzzer,address,undefined $^ $(LDLIBS) -o $@

# What reads bytes of strangers, SOAK_SECONDS of CPU time each, one after the other: test/README.md.
SOAK ?= qcow2 vmdk vhdx fuse lan agent control snapshot move
SOAK_SECONDS ?= 600
fuzz-soak: fuzz
	$(Q)bad=; for t in $(SOAK); do BUILD=$(BUILD) test/fuzz/soak $$t $(SOAK_SECONDS) || bad="$$bad $$t"; done; \
		[ -z "$$bad" ] || { echo "found something:$$bad" >&2; exit 1; }

# What a newcomer types. The libraries may arrive only now, hence the second make.
run:
	$(Q)tools/deps
	$(Q)$(MAKE) --no-print-directory $(BUILD)/lodge
	$(Q)$(BUILD)/lodge run
test:
	$(Q)tools/deps --test
	$(Q)BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) MAKE="$(MAKE) --no-print-directory" \
		CC="$(CC)" SAN="$(SAN)" test/run
test-long:
	$(Q)tools/deps --long
	$(Q)$(MAKE) --no-print-directory test FUZZ_SECONDS=60 LONG=1

# BENCH="--engine jit --only fib,crc" and such are for bench/run.
bench bench-quick:
	$(Q)tools/deps --bench
	$(Q)$(MAKE) --no-print-directory -s $(BUILD)/lodge $(BUILD)/interp_bench
	$(Q)BUILD=$(BUILD) bench/run $(if $(filter bench-quick,$@),--quick) $(BENCH) $(ARCH)

# BENCH="--no-qemu restore net" and such are for bench/guests/run.
bench-guests:
	$(Q)tools/deps --bench
	$(Q)$(MAKE) --no-print-directory -s $(BUILD)/lodge
	$(Q)BUILD=$(BUILD) bench/guests/run $(if $(ARCH),--arch $(ARCH)) $(BENCH)

# What is installed finds guests/ under share/lodge.
docs: $(BUILD)/lodge
	$(Q)mkdir -p $(BUILD)/man && cd $(BUILD)/man && rm -f *.1 && ../lodge help --man
install: $(BUILD)/lodge $(BUILD)/lodge-oci docs
	install -D -m 755 $(BUILD)/lodge $(DESTDIR)$(PREFIX)/bin/lodge
	install -m 755 $(BUILD)/lodge-oci $(DESTDIR)$(PREFIX)/bin/lodge-oci
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/lodge
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(BUILD)/lodge completion bash > \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lodge
	cp -R guests $(DESTDIR)$(PREFIX)/share/lodge/
	install -m 755 tools/deps $(DESTDIR)$(PREFIX)/share/lodge/
clean:
	rm -rf build build-*
.PHONY: all-green unit bless test test-long check fuzz fuzz-soak run bench bench-quick bench-guests docs install clean
.DELETE_ON_ERROR:
.SECONDARY:
-include $(patsubst %.o,%.d,$(call obj,$(src) $(oracle) $(vector) test/dev/chips.c test/blk/diskops.c src/main.c src/oci.c $(wildcard bench/interp/interp_bench.c bench/jit/*.c)) $(call gobj,$(lib) $(fuzz)))
