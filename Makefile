# make           build build/lodge              make run    prepare what is missing, boot the guest
# make test      prepare, build, every test     make check  format, layers, headers, duplicates
# make unit      unit tests only                make fuzz   build the fuzz targets (clang)
# make test SAN=address,undefined               make BUILD=dir V=1 CC=clang
comma := ,
BUILD ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
Q := $(if $(V),,@)

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := libfdt json-c libcrypto slirp liburing zlib
WARN := -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wundef -Wvla \
	-Wimplicit-fallthrough -Wmissing-prototypes -Wstrict-prototypes -Wformat=2
CFLAGS ?= -O2 -g
# libfdt is pulled in by name: bookworm's package has no .pc file.
pkg = $(shell pkg-config $(1) $(filter-out libfdt,$(PKGS)) 2>/dev/null)
override CFLAGS += -std=gnu17 -D_GNU_SOURCE -Isrc -I$(BUILD)/gen $(WARN) -MMD -MP \
	-fno-common -fstack-protector-strong $(call pkg,--cflags) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover -DLODGE_SAN=1)
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN))
LDLIBS := $(call pkg,--libs) -lfdt -lm

src   := $(wildcard src/*/*.c src/*/*/*.c)
tests := $(filter %_test.c,$(src))
lib   := $(filter-out $(tests),$(src))
obj    = $(patsubst %.c,$(BUILD)/%.o,$(1))

$(BUILD)/lodge: $(call obj,src/main.c $(lib))
$(BUILD)/unit: $(call obj,$(tests) $(lib))
$(BUILD)/lodge $(BUILD)/unit:
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(BUILD)/%.o: %.c
	@mkdir -p $(@D); echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) -c $< -o $@

# Tables become C. The generators are host programs of ours, like every other tool.
isa := $(patsubst src/isa/%.isa,$(BUILD)/gen/isa/%,$(wildcard src/isa/*/*.isa))
gen := $(foreach i,$(isa),$(i).enum.inc $(i).decode.inc $(i).info.inc $(i).sem.inc)
$(call obj,$(src)): | $(gen)
$(BUILD)/tools/%: tools/%.c
	@mkdir -p $(@D); echo "  HOSTCC $<"
	$(Q)cc -O1 -o $@ $<
define isa_rule
$(BUILD)/gen/isa/%.$(1).inc: src/isa/%.isa $(BUILD)/tools/isagen
	@mkdir -p $$(@D); echo "  GEN   $$@"
	$(Q)$(BUILD)/tools/isagen $$< $(1) > $$@.tmp && mv $$@.tmp $$@
endef
$(foreach k,enum decode info sem,$(eval $(call isa_rule,$(k))))

# what every commit must pass
all-green: $(BUILD)/lodge check unit
unit: $(BUILD)/unit
	$(Q)$(BUILD)/unit
test: $(BUILD)/lodge unit
check: $(gen)
	$(Q)tools/layers
	$(Q)clang-format --dry-run -Werror $(src) src/main.c $(wildcard src/*/*.h src/*/*/*.h)
	$(Q)for h in $(wildcard src/*/*.h src/*/*/*.h); do echo "#include \"../$$h\"" | \
		$(CC) $(filter-out -MMD -MP,$(CFLAGS)) -fsyntax-only -x c - || exit; done
clean:
	rm -rf build build-*
.PHONY: all-green unit test check clean
.DELETE_ON_ERROR:
.SECONDARY:
-include $(patsubst %.o,%.d,$(call obj,$(src) src/main.c))
