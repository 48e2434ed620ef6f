/* PCI with virtio functions behind it: any state saved, loaded into a twin, saved again. */
#include "base/buf.h"
#include "base/chr.h"
#include "base/state.h"
#include "base/test.h"
#include "blk/blk.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include "hw/pci_rig_test.h"
#include "net/port.h"
#include <stdlib.h>
#include <unistd.h>

enum { RAM = 0x80000000, FUNCTIONS = 5, BAR_AT = 0x10000, DISK = 1 << 20 };
static struct gmem *mem;
static struct chr chr;
static char disk[] = "/tmp/lodge-state-XXXXXX";
static uint64_t seed;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
static size_t on_output(void *host, const uint8_t *p, size_t n)
{
	return (void)host, (void)p, n > 5 ? 5 : 0;
}

struct set {
	struct pci_rig rig;
	struct port *nic;
};

static void plug(struct set *s, struct virtio_dev *v)
{
	CHECK(!virtio_pci_new(s->rig.h, v, -1, NULL));
}

static struct set *set_new(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct set *s = calloc(1, sizeof(*s));
	struct virtio_dev *v;
	struct blk *b;
	must(s);
	pci_rig_init(&s->rig, true);
	CHECK(!blk_open(&b, disk, "raw", BLK_RDONLY, NULL));
	CHECK(!virtio_blk_new(&v, mem, b, "x", NULL));
	plug(s, v);
	CHECK(!virtio_net_new(&v, mem, mac, &s->nic, NULL));
	plug(s, v);
	CHECK(!virtio_console_new(&v, mem, &chr, NULL));
	plug(s, v);
	CHECK(!virtio_rng_new(&v, mem, NULL));
	plug(s, v);
	CHECK(!virtio_balloon_new(&v, mem, NULL));
	plug(s, v);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		pci_set(&s->rig, i + 1, 0x10, RIG_MEM32 + i * BAR_AT, 4);
		pci_set(&s->rig, i + 1, 0x18, RIG_MEM32 + i * BAR_AT + BAR_AT / 2, 4);
		pci_set(&s->rig, i + 1, 4, 6, 2);
	}
	return s;
}
static void set_free(struct set *s)
{
	pci_rig_done(&s->rig);
	free(s);
}

static void reg(struct set *s, unsigned i, unsigned off, uint64_t v, unsigned len)
{
	bus_write(s->rig.bus, RIG_MEM32 + i * BAR_AT + off, v, len);
}

/* As drivers do it, so that queues live: common configuration of 4.1.4.3. */
static void drive(struct set *s, unsigned i)
{
	reg(s, i, 0x14, 0, 1);
	reg(s, i, 0x14, 3, 1);
	reg(s, i, 0x08, 1, 4);
	reg(s, i, 0x0c, 1, 4);
	reg(s, i, 0x14, 11, 1);
	for (unsigned q = 0; q < 2; q++) {
		gpa_t at = RAM + (i * 2 + q) * 0x4000;
		reg(s, i, 0x16, q, 2);
		reg(s, i, 0x18, 16, 2);
		reg(s, i, 0x1a, q + 1, 2);
		reg(s, i, 0x20, at, 8);
		reg(s, i, 0x28, at + 0x1000, 8);
		reg(s, i, 0x30, at + 0x2000, 8);
		reg(s, i, 0x1c, 1, 2);
	}
	reg(s, i, 0x14, 15, 1);
}

static void stir(struct set *s)
{
	for (unsigned i = 0; i < FUNCTIONS; i++)
		if (any() & 3) drive(s, i);
	for (unsigned k = 0; k < 200; k++) {
		unsigned i = (unsigned)(any() % FUNCTIONS), len = 1u << any() % 3;
		if (any() & 1) /* MSI-X */
			reg(s, i, BAR_AT / 2 + (unsigned)(any() % 0x40), any(), len);
		else if (!(any() & 7))
			reg(s, i, 0x3000 + (unsigned)(any() % 2) * 4, 0, 4); /* notify */
		else if (any() & 1)
			pci_set(&s->rig, i + 1, 0x40 + (unsigned)(any() % 0x80) / len * len, any(),
				len);
		else if (!(any() & 3))
			reg(s, i, (unsigned)(any() % 0x38) / len * len, any() & 0xf, len);
	}
}

static void save(struct set *s, struct buf *to)
{
	struct state out = {.b = to};
	pci_host_pause(s->rig.h);
	pci_host_state(s->rig.h, &out);
	CHECK(!state_end(&out, NULL));
}
static int load(struct set *s, struct buf *from, struct err *e)
{
	struct state in = {.b = from, .loading = true};
	from->pos = 0;
	pci_host_pause(s->rig.h);
	pci_host_state(s->rig.h, &in);
	return state_end(&in, e);
}

static void begin(void)
{
	seed = 88172645463325252u;
	strcpy(disk + sizeof(disk) - 7, "XXXXXX");
	int fd = mkstemp(disk);
	CHECK(fd >= 0 && !ftruncate(fd, DISK) && !close(fd));
	chr.output = on_output;
	mem = gmem_new();
	CHECK(!gmem_add(mem, RAM, 4 * MIB, 0, NULL));
}
static void end(void)
{
	gmem_free(mem);
	CHECK(!unlink(disk));
}

TEST(state_of_virtio_functions_comes_back_the_same)
{
	begin();
	for (unsigned k = 0; k < 60; k++) {
		struct set *from = set_new(), *to = set_new();
		auto_buf struct buf a = {0}, b = {0};
		struct err e = {0};
		stir(from);
		stir(to);
		save(from, &a);
		if (load(to, &a, &e)) test_fail(e.msg, "pci", (int)k);
		save(to, &b);
		CHECK(a.len == b.len && !memcmp(a.at, b.at, a.len));
		for (unsigned i = 0; i < FUNCTIONS; i++) /* BARs answer where they did */
			CHECK(bus_read(from->rig.bus, RIG_MEM32 + i * BAR_AT + 0x14, 1) ==
			      bus_read(to->rig.bus, RIG_MEM32 + i * BAR_AT + 0x14, 1));
		pci_host_resume(from->rig.h);
		pci_host_resume(to->rig.h);
		set_free(from);
		set_free(to);
	}
	end();
}

TEST(state_of_virtio_functions_cut_or_made_up)
{
	begin();
	struct set *from = set_new(), *to = set_new();
	auto_buf struct buf a = {0};
	stir(from);
	save(from, &a);
	size_t whole = a.len;
	for (a.len = 0; a.len < whole; a.len += 1 + a.len / 40) CHECK(load(to, &a, NULL) < 0);
	a.len = whole;
	for (unsigned k = 0; k < 500; k++) {
		a.at[any() % whole] ^= (char)(any() | 1);
		(void)load(to, &a, NULL);
		pci_host_resume(to->rig.h);
		if (k % 8 == 0) stir(to);
	}
	set_free(from);
	set_free(to);
	end();
}

TEST(state_of_another_function_is_refused)
{
	struct pci_rig one;
	auto_buf struct buf a = {0};
	begin();
	struct set *from = set_new();
	save(from, &a);
	struct err e = {0};
	pci_rig_init(&one, true);
	struct state in = {.b = &a, .loading = true};
	pci_host_state(one.h, &in);
	CHECK(state_end(&in, &e) < 0 && strstr(e.msg, "number of PCI functions"));
	pci_rig_done(&one);
	set_free(from);
	end();
}
