#include "base/buf.h"
#include "base/state.h"
#include "dev/ahci_rig_test.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { IDENTIFY = 0xec, READ_EXT = 0x25, WRITE_EXT = 0x35, FPDMA_READ = 0x60, FPDMA_WRITE };
enum { ABRT = 4, IDNF = 0x10, UNC = 0x40, BAD_MEMORY = -2 };

static int io(struct arig *r, unsigned op, uint64_t lba, unsigned n, gpa_t at, uint32_t len)
{
	const struct arig_cmd c = {.op = (uint8_t)op,
				   .lba = lba,
				   .count = (uint16_t)n,
				   .write = op == WRITE_EXT,
				   .at = at,
				   .len = len};
	return arig_do(r, 0, &c);
}
static int plain(struct arig *r, unsigned op, unsigned feature, unsigned count)
{
	const struct arig_cmd c = {
		.op = (uint8_t)op, .feature = (uint8_t)feature, .count = (uint16_t)count};
	return arig_do(r, 0, &c);
}
static unsigned word(struct arig *r, unsigned n)
{
	return (unsigned)load_le(arig_at(r, ARIG_DATA + 2 * n), 2);
}

TEST(ahci_tells_what_it_is)
{
	struct arig *r = arig_new(false);
	CHECK(pci_cfg(&r->pci, 1, 0, 4) == 0x29228086 && pci_cfg(&r->pci, 1, 8, 4) >> 8 == 0x10601);
	CHECK(arig_hba(r, 0x0c) == 3 && (arig_hba(r, 0) & 0x1f) == 1);
	CHECK((arig_hba(r, 0) >> 8 & 31) == 31 && arig_hba(r, GHC) == 0x80000000);
	for (unsigned n = 0; n < 2; n++) {
		CHECK(arig_reg(r, n, PX_SSTS) == 0x133 && arig_reg(r, n, PX_TFD) & 0x80);
		CHECK(arig_reg(r, n, PX_SIG) == ~0u && arig_reg(r, n, PX_IS) == 1 << 6);
		arig_start(r, n);
		CHECK(arig_reg(r, n, PX_SIG) == (n ? 0xeb140101 : 0x101));
		CHECK(arig_reg(r, n, PX_TFD) == (n ? 0x100 : 0x150) && !arig_reg(r, n, PX_IS));
		CHECK(*arig_at(r, ARIG_FIS + ARIG_PORT * n + 0x40) == 0x34);
		CHECK((arig_reg(r, n, PX_CMD) & 0xc017) == 0xc017);
	}
	CHECK(io(r, IDENTIFY, 0, 0, ARIG_DATA, 512) == 0 && arig_moved(r, 0) == 512);
	CHECK(word(r, 0) == 0x40 && word(r, 10) == ('s' << 8 | 'e') && word(r, 75) == 31);
	CHECK(load_le(arig_at(r, ARIG_DATA + 200), 8) == DISK_RIG_BLOCKS);
	CHECK(load_le(arig_at(r, ARIG_DATA + 120), 4) == DISK_RIG_BLOCKS && word(r, 169) == 1);
	uint8_t sum = 0;
	for (unsigned i = 0; i < 512; i++) sum = (uint8_t)(sum + *arig_at(r, ARIG_DATA + i));
	CHECK(sum == 0);
	const uint8_t *pio = arig_at(r, ARIG_FIS + RX_PIO_AT);
	CHECK(pio[0] == 0x5f && pio[2] == 0x58 && pio[15] == 0x50 && load_le(pio + 16, 2) == 512);
	const struct arig_cmd as_disk = {.op = IDENTIFY, .at = ARIG_DATA, .len = 512};
	CHECK(arig_do(r, 1, &as_disk) == ABRT);
	CHECK(load_le(arig_at(r, ARIG_FIS + ARIG_PORT + 0x44), 4) == 0x40eb1401);
	const struct arig_cmd as_cd = {.op = 0xa1, .at = ARIG_DATA, .len = 512};
	CHECK(arig_do(r, 1, &as_cd) == 0 && word(r, 0) == 0x85c0);
	CHECK(plain(r, 0x77, 0, 0) == ABRT && plain(r, 0, 0, 0) == ABRT);
	arig_free(r);
}

TEST(ahci_reads_and_writes)
{
	struct arig *r = arig_started(false);
	CHECK(io(r, READ_EXT, 5, 2, ARIG_DATA + 512, 1024) == 0 && arig_moved(r, 0) == 1024);
	CHECK(*arig_at(r, ARIG_DATA + 512) == 6 && *arig_at(r, ARIG_DATA + 512 + 1023) == 7);
	CHECK(*arig_at(r, ARIG_DATA + 511) == 0 && *arig_at(r, ARIG_DATA + 1536) == 0);
	memset(arig_at(r, ARIG_DATA), 0xab, 8192);
	CHECK(io(r, WRITE_EXT, 8, 12, ARIG_DATA, 12 * 512) == 0);
	CHECK(r->disk[0].at[8 * 512] == 0xab && r->disk[0].at[20 * 512 - 1] == 0xab);
	CHECK(r->disk[0].at[20 * 512] == 21 && r->disk[0].at[8 * 512 - 1] == 8);
	const struct arig_cmd short_read = {
		.op = 0xc8, .lba = 40, .count = 1, .at = ARIG_DATA, .len = 512};
	CHECK(arig_do(r, 0, &short_read) == 0 && *arig_at(r, ARIG_DATA) == 41);
	CHECK(io(r, 0x24, 41, 1, ARIG_DATA, 512) == 0 && *arig_at(r, ARIG_DATA) == 42); /* PIO */
	CHECK(io(r, 0x29, 42, 1, ARIG_DATA, 512) == ABRT && plain(r, 0xc6, 0, 8) == 0);
	CHECK(io(r, 0x29, 42, 1, ARIG_DATA, 512) == 0 && *arig_at(r, ARIG_DATA) == 43);
	CHECK(plain(r, 0xc6, 0, 3) == ABRT && plain(r, 0xc6, 0, 32) == ABRT);
	CHECK(plain(r, 0xe7, 0, 0) == 0 && r->disk[0].n[BLK_FLUSH] == 1);
	CHECK(plain(r, 0xe5, 0, 0) == 0 && *arig_at(r, ARIG_FIS + 0x4c) == 0xff);
	CHECK(plain(r, 0x27, 0, 0) == 0 && load_le(arig_at(r, ARIG_FIS + 0x44), 2) == 4095);
	arig_free(r);
}

/* Entries of 2 to 6 bytes, none of which a sector ends with. */
TEST(ahci_scatters_and_gathers)
{
	struct arig *r = arig_started(false);
	enum { SECTORS = 3, ALL = SECTORS * 512, TABLE = 0x80000 };
	uint8_t want[ALL], *data = arig_at(r, ARIG_DATA);
	struct arig_cmd c = {.op = READ_EXT, .lba = 100, .count = SECTORS, .len = ALL};
	uint32_t n = 0, k = 0;
	for (; n < ALL; k++) {
		uint32_t len = 2 + 2 * (k % 3);
		arig_entry(r, TABLE, k, ARIG_DATA + 0x4000 - n - len, len);
		n += len;
	}
	c.entries = k;
	for (unsigned i = 0; i < sizeof(r->disk[0].at); i++) r->disk[0].at[i] = (uint8_t)(i * 7);
	arig_put(r, 0, 0, &c);
	uint8_t *h = arig_at(r, ARIG_LIST), *f = arig_at(r, ARIG_TABLE);
	memcpy(arig_at(r, TABLE), f, 0x80);
	store_le(h + 8, TABLE, 8);
	arig_set(r, 0, PX_CI, 1);
	arig_run(r);
	CHECK(arig_reg(r, 0, PX_CI) == 0 && arig_moved(r, 0) == ALL);
	n = 0;
	for (k = 0; n < ALL; k++) {
		uint32_t len = 2 + 2 * (k % 3), left = ALL - n;
		memcpy(want + n, data + 0x4000 - n - len, len < left ? len : left);
		n += len;
	}
	CHECK(!memcmp(want, r->disk[0].at + 100 * 512, ALL) && r->disk[0].n[BLK_READ] > 1);
	CHECK(r->disk[0].n[BLK_READ] <= SECTORS);
	arig_free(r);
}

TEST(ahci_refuses_bad_addresses)
{
	struct arig *r = arig_started(false);
	CHECK(io(r, READ_EXT, 0, 8, ARIG_RAM, 4096) == BAD_MEMORY);
	CHECK(io(r, READ_EXT, 0, 8, ~1ull, 4096) == BAD_MEMORY);
	CHECK(io(r, READ_EXT, 0, 8, ARIG_RAM - 2048, 4096) == BAD_MEMORY);
	CHECK(io(r, WRITE_EXT, 0, 8, ARIG_RAM, 4096) == BAD_MEMORY);
	CHECK(io(r, READ_EXT, DISK_RIG_BLOCKS, 1, ARIG_DATA, 512) == IDNF);
	CHECK(io(r, READ_EXT, DISK_RIG_BLOCKS - 1, 2, ARIG_DATA, 1024) == IDNF);
	CHECK(io(r, READ_EXT, 0xffffffffffff, 0, ARIG_DATA, 512) == IDNF);
	CHECK(r->disk[0].n[BLK_READ] == 0 && r->disk[0].n[BLK_WRITE] == 0);
	CHECK(io(r, WRITE_EXT, 0, 1, 0, 0) == ABRT); /* no data */
	const struct arig_cmd c = {.op = READ_EXT, .count = 4, .at = ARIG_DATA, .len = 1024};
	arig_issue(r, 0, 0, &c); /* less room than data */
	arig_run(r);
	CHECK(arig_reg(r, 0, PX_CI) == 0 && arig_reg(r, 0, PX_IS) & 1 << 24);
	CHECK(arig_moved(r, 0) == 1024);
	arig_set(r, 0, PX_IS, ~0u);
	arig_put(r, 0, 0, &c);
	*arig_at(r, ARIG_TABLE + 7) = 0; /* by cylinder and head */
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_TFD) == (ABRT << 8 | 0x51));
	arig_free(r);
}

TEST(ahci_gives_up_where_its_lists_are_nowhere)
{
	struct arig *r = arig_started(false);
	const struct arig_cmd c = {.op = READ_EXT, .count = 1, .at = ARIG_DATA, .len = 512};
	arig_set(r, 0, PX_CMD, CMD_RECEIVE);
	arig_set(r, 0, PX_CLB, ARIG_RAM);
	arig_set(r, 0, PX_CMD, CMD_START);
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_IS) == 1 << 29 && arig_reg(r, 0, PX_CI) == 1);
	arig_start(r, 0);
	arig_put(r, 0, 0, &c);
	store_le(arig_at(r, ARIG_LIST + 8), 0xfffff000fffff000, 8);
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_IS) == 1 << 29);
	arig_set(r, 0, PX_CMD, CMD_RECEIVE);
	arig_start(r, 0);
	arig_set(r, 0, PX_FB, ARIG_RAM);
	arig_issue(r, 0, 0, &c);
	arig_run(r);
	CHECK(arig_reg(r, 0, PX_IS) == 1 << 29);
	arig_set(r, 0, PX_CMD, CMD_RECEIVE);
	arig_start(r, 0);
	arig_put(r, 0, 0, &c);
	*arig_at(r, ARIG_TABLE) = 0x46; /* no command */
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_IS) == 1 << 27);
	CHECK(r->disk[0].n[BLK_READ] == 1);
	arig_free(r);
}

static struct arig_cmd queued(bool write, uint64_t lba, unsigned slot)
{
	return (struct arig_cmd){.op = write ? FPDMA_WRITE : FPDMA_READ,
				 .queued = true,
				 .lba = lba,
				 .count = 1,
				 .write = write,
				 .at = ARIG_DATA + 512 * slot,
				 .len = 512};
}

TEST(ahci_queues_commands)
{
	struct arig *r = arig_started(false);
	for (unsigned i = 0; i < 32; i++) {
		const struct arig_cmd c = queued(false, 3 * i, i);
		arig_issue(r, 0, i, &c);
	}
	CHECK(r->disk[0].nheld == 32 && arig_reg(r, 0, PX_CI) == 0);
	CHECK(arig_reg(r, 0, PX_SACT) == ~0u && !(arig_reg(r, 0, PX_TFD) & 0x88));
	arig_set(r, 0, PX_CI, 1 << 4); /* again, while it is at work */
	CHECK(r->disk[0].nheld == 32);
	disk_rig_do(&r->disk[0], 17);
	CHECK(arig_reg(r, 0, PX_SACT) == ~(1u << 17) && arig_reg(r, 0, PX_IS) == 1 << 3);
	const uint8_t *sdb = arig_at(r, ARIG_FIS + RX_SDB_AT);
	CHECK(sdb[0] == 0xa1 && sdb[1] == 0x40 && load_le(sdb + 4, 4) == 1 << 17);
	arig_set(r, 0, PX_SACT, 1 << 4);
	arig_run(r);
	CHECK(arig_reg(r, 0, PX_SACT) == 0 && arig_reg(r, 0, PX_CI) == 0);
	for (unsigned i = 0; i < 32; i++) CHECK(*arig_at(r, ARIG_DATA + 512 * i) == 3 * i + 1);
	const struct arig_cmd w = queued(true, 7, 3);
	arig_issue(r, 0, 3, &w);
	const struct arig_cmd plain_read = {
		.op = READ_EXT, .lba = 9, .count = 1, .at = ARIG_DATA, .len = 512};
	arig_issue(r, 0, 5, &plain_read); /* waits for the other kind */
	CHECK(r->disk[0].nheld == 1 && arig_reg(r, 0, PX_CI) == 1 << 5);
	arig_run(r);
	CHECK(r->disk[0].at[7 * 512] == 10 && *arig_at(r, ARIG_DATA) == 10);
	arig_free(r);
}

TEST(ahci_says_which_queued_command_failed)
{
	struct arig *r = arig_started(false);
	for (unsigned i = 0; i < 3; i++) {
		const struct arig_cmd c = queued(false, 10 + i, i);
		arig_issue(r, 0, i, &c);
	}
	r->disk[0].fails = -EIO;
	disk_rig_do(&r->disk[0], 1);
	r->disk[0].fails = 0;
	CHECK(arig_reg(r, 0, PX_TFD) == (UNC << 8 | 0x51) && arig_reg(r, 0, PX_SACT) == 7);
	CHECK(arig_reg(r, 0, PX_IS) == (1 << 30 | 1 << 3));
	arig_set(r, 0, PX_CMD, CMD_RECEIVE);
	CHECK(arig_reg(r, 0, PX_CMD) & 0x8000 && arig_reg(r, 0, PX_SACT) == 0);
	arig_run(r);
	CHECK(!(arig_reg(r, 0, PX_CMD) & 0x8000) && arig_reg(r, 0, PX_SACT) == 0);
	arig_set(r, 0, PX_IS, ~0u);
	arig_set(r, 0, PX_CMD, CMD_START);
	CHECK(io(r, 0x2f, 0x10, 1, ARIG_DATA, 512) == 0);
	const uint8_t *log = arig_at(r, ARIG_DATA);
	CHECK(log[0] == 1 && log[2] == 0x51 && log[3] == UNC && log[4] == 11);
	uint8_t sum = 0;
	for (unsigned i = 0; i < 512; i++) sum = (uint8_t)(sum + log[i]);
	CHECK(sum == 0 && io(r, 0x2f, 0x11, 1, ARIG_DATA, 512) == ABRT);
	struct arig_cmd c = queued(false, 0, 0);
	arig_put(r, 0, 0, &c);
	*arig_at(r, ARIG_TABLE + 12) = 5 << 3; /* another's tag */
	arig_set(r, 0, PX_SACT, 1);
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_TFD) == (ABRT << 8 | 0x51));
	arig_free(r);
}

TEST(ahci_makes_writes_last)
{
	struct arig *r = arig_started(false);
	const struct arig_cmd fua = {
		.op = 0x3d, .count = 1, .write = true, .at = ARIG_DATA, .len = 512};
	CHECK(arig_do(r, 0, &fua) == 0 && r->disk[0].n[BLK_FLUSH] == 1);
	struct arig_cmd w = queued(true, 0, 0);
	CHECK(arig_do(r, 0, &w) == 0 && r->disk[0].n[BLK_FLUSH] == 1);
	w.device = 0x80;
	CHECK(arig_do(r, 0, &w) == 0 && r->disk[0].n[BLK_FLUSH] == 2);
	CHECK(plain(r, 0xef, 0x82, 0) == 0); /* no cache */
	CHECK(io(r, WRITE_EXT, 0, 1, ARIG_DATA, 512) == 0 && r->disk[0].n[BLK_FLUSH] == 3);
	CHECK(io(r, IDENTIFY, 0, 0, ARIG_DATA, 512) == 0 && !(word(r, 85) & 1 << 5));
	CHECK(plain(r, 0xef, 0x99, 0) == ABRT);
	r->disk[0].fails = -EIO;
	CHECK(io(r, READ_EXT, 9, 1, ARIG_DATA, 512) == UNC);
	CHECK(*arig_at(r, ARIG_FIS + 0x44) == 9);
	CHECK(io(r, WRITE_EXT, 0, 1, ARIG_DATA, 512) == ABRT);
	arig_free(r);
}

TEST(ahci_read_only)
{
	struct arig *r = arig_started(true);
	CHECK(io(r, WRITE_EXT, 0, 1, ARIG_DATA, 512) == ABRT && plain(r, 0xe7, 0, 0) == 0);
	const struct arig_cmd w = queued(true, 0, 0);
	CHECK(arig_do(r, 0, &w) == ABRT && io(r, READ_EXT, 0, 1, ARIG_DATA, 512) == 0);
	const struct arig_cmd trim = {
		.op = 6, .feature = 1, .count = 1, .write = true, .at = ARIG_DATA, .len = 512};
	CHECK(arig_do(r, 0, &trim) == ABRT);
	CHECK(!r->disk[0].n[BLK_WRITE] && !r->disk[0].n[BLK_FLUSH] && !r->disk[0].n[BLK_DISCARD]);
	arig_free(r);
}

TEST(ahci_trims_range_by_range)
{
	struct arig *r = arig_started(false);
	struct arig_cmd c = {
		.op = 6, .feature = 1, .count = 2, .write = true, .at = ARIG_DATA, .len = 1024};
	store_le(arig_at(r, ARIG_DATA), 10 | 4ull << 48, 8);
	store_le(arig_at(r, ARIG_DATA + 504), 30 | 4ull << 48, 8);
	store_le(arig_at(r, ARIG_DATA + 512), 50 | 4ull << 48, 8);
	CHECK(arig_do(r, 0, &c) == 0 && r->disk[0].n[BLK_DISCARD] == 3);
	CHECK(r->disk[0].at[10 * 512] == 0xdd && r->disk[0].at[30 * 512] == 0xdd);
	CHECK(r->disk[0].at[50 * 512] == 0xdd && r->disk[0].at[54 * 512] == 55);
	store_le(arig_at(r, ARIG_DATA + 512), DISK_RIG_BLOCKS | 1ull << 48, 8);
	CHECK(arig_do(r, 0, &c) == IDNF);
	c.len = 512;
	CHECK(arig_do(r, 0, &c) == ABRT); /* half of the ranges are missing */
	c.count = 9;
	CHECK(arig_do(r, 0, &c) == ABRT);
	arig_free(r);
}

TEST(ahci_interrupts_by_its_pin)
{
	struct arig *r = arig_started(false);
	const struct arig_cmd c = {.op = 0xe5};
	CHECK(r->pci.line[1] == 0);
	arig_issue(r, 0, 0, &c);
	CHECK(r->pci.line[1] == 1 && arig_hba(r, HBA_IS) == 1 && arig_reg(r, 0, PX_IS) == 1);
	arig_hba_set(r, HBA_IS, 1); /* too early: the port still has something to say */
	CHECK(r->pci.line[1] == 1 && arig_hba(r, HBA_IS) == 1);
	arig_set(r, 0, PX_IS, 1);
	arig_hba_set(r, HBA_IS, 1);
	CHECK(r->pci.line[1] == 0 && arig_hba(r, HBA_IS) == 0);
	arig_set(r, 0, PX_IE, ~1u);
	arig_issue(r, 0, 0, &c);
	CHECK(r->pci.line[1] == 0 && arig_reg(r, 0, PX_IS) == 1);
	arig_set(r, 0, PX_IE, 1);
	CHECK(r->pci.line[1] == 1);
	arig_hba_set(r, GHC, 0);
	CHECK(r->pci.line[1] == 0);
	arig_free(r);
}

static void read_begun(struct arig *r)
{
	const struct arig_cmd c = {
		.op = READ_EXT, .lba = 3, .count = 1, .at = ARIG_DATA, .len = 512};
	arig_issue(r, 0, 0, &c);
	CHECK(r->disk[0].nheld == 1 && arig_reg(r, 0, PX_TFD) & 0x80);
}
static void works_again(struct arig *r)
{
	arig_start(r, 0);
	CHECK(io(r, READ_EXT, 20, 1, ARIG_DATA, 512) == 0 && *arig_at(r, ARIG_DATA) == 21);
}

TEST(ahci_is_stopped_while_at_work)
{
	struct arig *r = arig_started(false);
	read_begun(r);
	arig_set(r, 0, PX_CMD, CMD_RECEIVE);
	CHECK(arig_reg(r, 0, PX_CMD) & 0x8000 && arig_reg(r, 0, PX_CI) == 0);
	arig_set(r, 0, PX_CMD, CMD_START); /* too early: it begins when the other is done */
	const struct arig_cmd c = {
		.op = READ_EXT, .lba = 5, .count = 1, .at = ARIG_DATA + 512, .len = 512};
	arig_issue(r, 0, 0, &c);
	CHECK(r->disk[0].nheld == 1);
	arig_run(r);
	CHECK(r->disk[0].n[BLK_READ] == 2 && *arig_at(r, ARIG_DATA + 512) == 6);
	CHECK(arig_reg(r, 0, PX_IS) == 1);
	arig_set(r, 0, PX_IS, 1);
	read_begun(r);
	arig_set(r, 0, PX_SCTL, 1); /* COMRESET */
	CHECK(arig_reg(r, 0, PX_SSTS) == 0 && arig_reg(r, 0, PX_TFD) == 0x7f);
	arig_set(r, 0, PX_SCTL, 0);
	CHECK(arig_reg(r, 0, PX_SSTS) == 0 && r->disk[0].nheld == 1);
	arig_run(r);
	CHECK(arig_reg(r, 0, PX_SSTS) == 0x133 && arig_reg(r, 0, PX_SERR) == 1 << 26);
	CHECK(arig_reg(r, 0, PX_IS) == 1 << 6 && arig_reg(r, 0, PX_SIG) == 0x101);
	works_again(r);
	arig_set(r, 0, PX_SCTL, 4); /* off */
	CHECK(arig_reg(r, 0, PX_SSTS) == 4);
	arig_free(r);
}

TEST(ahci_is_reset_while_at_work)
{
	struct arig *r = arig_started(false);
	read_begun(r);
	arig_hba_set(r, GHC, 1);
	CHECK(arig_hba(r, GHC) & 1);
	arig_set(r, 0, PX_CMD, 0);
	arig_run(r);
	CHECK(arig_hba(r, GHC) == 0x80000000 && arig_reg(r, 0, PX_CLB) == ARIG_LIST);
	CHECK(arig_reg(r, 0, PX_CMD) == 6 && r->pci.line[1] == 0);
	works_again(r);
	const struct arig_cmd c = {.op = 0};
	arig_put(r, 0, 0, &c);
	*arig_at(r, ARIG_TABLE + 1) = 0;
	*arig_at(r, ARIG_TABLE + 15) = 4; /* SRST */
	arig_set(r, 0, PX_CI, 1);
	CHECK(arig_reg(r, 0, PX_CI) == 0);
	*arig_at(r, ARIG_TABLE + 15) = 0;
	memset(arig_at(r, ARIG_FIS), 0, 256);
	arig_set(r, 0, PX_CI, 1);
	CHECK(*arig_at(r, ARIG_FIS + 0x40) == 0x34 && arig_reg(r, 0, PX_TFD) == 0x150);
	works_again(r);
	pci_host_reset(r->pci.h);
	arig_map(r);
	CHECK(arig_reg(r, 0, PX_CLB) == 0 && arig_reg(r, 0, PX_IE) == 0);
	works_again(r);
	arig_free(r);
}

/* ---- the CD */

static int packet(struct arig *r, uint32_t room, const char *hex)
{
	uint8_t cdb[12] = {0};
	for (unsigned i = 0; i < sizeof(cdb) && *hex; i++) {
		cdb[i] = (uint8_t)strtoul(hex, NULL, 16);
		hex += hex[2] ? 3 : 2;
	}
	return arig_packet(r, cdb, room);
}
static uint32_t sense(struct arig *r)
{
	CHECK(packet(r, 18, "03 00 00 00 12") == 0);
	const uint8_t *p = arig_at(r, ARIG_DATA);
	return (uint32_t)(p[2] << 16 | p[12] << 8 | p[13]);
}
static uint64_t got(struct arig *r, unsigned off, unsigned len)
{
	return ahci_cd_number(arig_at(r, ARIG_DATA + off), len);
}

TEST(cdrom_tells_of_its_reset_first)
{
	struct arig *r = arig_started(false);
	CHECK(packet(r, 36, "12 00 00 00 24") == 0 && got(r, 0, 2) == 0x580);
	CHECK(!memcmp(arig_at(r, ARIG_DATA + 8), "LODGE   CD-ROM  ", 16));
	CHECK(packet(r, 0, "00") == 0x64 && sense(r) == 0x062900 && sense(r) == 0);
	CHECK(packet(r, 0, "00") == 0);
	arig_set(r, 1, PX_SCTL, 1);
	arig_set(r, 1, PX_SCTL, 0);
	arig_start(r, 1);
	CHECK(sense(r) == 0x062900 && packet(r, 0, "00") == 0);
	CHECK(packet(r, 0, "99") == 0x54 && sense(r) == 0x052000);
	arig_free(r);
}
static struct arig *ready(void)
{
	struct arig *r = arig_started(false);
	(void)sense(r);
	return r;
}

TEST(cdrom_reads)
{
	struct arig *r = ready();
	CHECK(packet(r, 8, "25") == 0 && got(r, 0, 4) == 1023 && got(r, 4, 4) == 2048);
	CHECK(packet(r, 4096, "28 00 00 00 00 10 00 00 02 00") == 0 && arig_moved(r, 1) == 4096);
	CHECK(!memcmp(arig_at(r, ARIG_DATA), r->disk[1].at + 0x10 * 2048, 4096));
	CHECK(packet(r, 2048, "a8 00 00 00 00 11 00 00 00 01") == 0);
	CHECK(!memcmp(arig_at(r, ARIG_DATA), r->disk[1].at + 0x11 * 2048, 2048));
	CHECK(packet(r, 2048, "be 00 00 00 00 12 00 00 01 10") == 0);
	CHECK(!memcmp(arig_at(r, ARIG_DATA), r->disk[1].at + 0x12 * 2048, 2048));
	CHECK(packet(r, 2352, "be 00 00 00 00 12 00 00 01 f8") == 0x54 && sense(r) == 0x052400);
	CHECK(packet(r, 2048, "28 00 00 00 04 00 00 00 01 00") == 0x54 && sense(r) == 0x052100);
	CHECK(packet(r, 2048, "28 00 00 00 03 ff 00 00 02 00") == 0x54);
	CHECK(packet(r, 2048, "28 00 ff ff ff ff 00 ff ff 00") == 0x54);
	CHECK(packet(r, 0, "28 00 00 00 00 00 00 00 00 00") == 0);
	CHECK(packet(r, 0, "2b 00 00 00 00 20") == 0 && packet(r, 0, "2b 00 00 00 04 00") == 0x54);
	r->disk[1].fails = -EIO;
	CHECK(packet(r, 2048, "28 00 00 00 00 10 00 00 01 00") == 0x34 && sense(r) == 0x031100);
	r->disk[1].fails = 0;
	struct arig_cmd pio = {.op = 0xa0,
			       .packet = true,
			       .lba = 2048 << 8,
			       .cdb = {0x28, 0, 0, 0, 0, 5, 0, 0, 1},
			       .at = ARIG_DATA,
			       .len = 2048};
	memset(arig_at(r, ARIG_FIS + ARIG_PORT), 0, 256);
	CHECK(arig_do(r, 1, &pio) == 0);
	CHECK(*arig_at(r, ARIG_FIS + ARIG_PORT + RX_PIO_AT) == 0x5f);
	CHECK(load_le(arig_at(r, ARIG_FIS + ARIG_PORT + 0x4c), 1) == 3);
	CHECK(!memcmp(arig_at(r, ARIG_DATA), r->disk[1].at + 5 * 2048, 2048));
	arig_free(r);
}

TEST(cdrom_opens_and_closes)
{
	struct arig *r = ready();
	CHECK(packet(r, 0, "1e 00 00 00 01") == 0);
	CHECK(packet(r, 0, "1b 00 00 00 02") == 0x54 && sense(r) == 0x055302);
	CHECK(packet(r, 0, "1e") == 0 && packet(r, 0, "1b 00 00 00 02") == 0);
	CHECK(packet(r, 8, "4a 01 00 00 10 00 00 00 08") == 0 && got(r, 4, 2) == 0x0301);
	CHECK(packet(r, 8, "4a 01 00 00 10 00 00 00 08") == 0 && got(r, 4, 2) == 0x0001);
	CHECK(packet(r, 0, "00") == 0x24 && sense(r) == 0x023a02);
	CHECK(packet(r, 2048, "28 00 00 00 00 10 00 00 01 00") == 0x24);
	CHECK(packet(r, 8, "25") == 0x24 && packet(r, 4, "43 00 00 00 00 00 00 00 04") == 0x24);
	CHECK(packet(r, 8, "46 02 00 1e 00 00 00 00 08") == 0 && got(r, 6, 2) == 0);
	pci_host_reset(r->pci.h);
	arig_map(r);
	arig_start(r, 1);
	CHECK(sense(r) == 0x062900 && packet(r, 0, "00") == 0x24); /* still open */
	CHECK(packet(r, 0, "1b 00 00 00 03") == 0 && packet(r, 0, "00") == 0x64);
	CHECK(sense(r) == 0x062800 && packet(r, 0, "00") == 0);
	CHECK(packet(r, 8, "4a 01 00 00 10 00 00 00 08") == 0 && got(r, 4, 2) == 0x0202);
	CHECK(packet(r, 4, "4a 01 00 00 01 00 00 00 08") == 0 && got(r, 0, 4) == 0x00028010);
	CHECK(packet(r, 8, "4a 00 00 00 10 00 00 00 08") == 0x54);
	arig_free(r);
}

static int packet_2(struct arig *r, uint32_t room, uint8_t op, uint8_t b1, uint8_t b4, uint8_t b8)
{
	struct arig_cmd c = {.op = 0xa0,
			     .feature = 1,
			     .packet = true,
			     .cdb = {op, b1, 0, 0, b4, 0, 0, 0, b8},
			     .at = ARIG_DATA,
			     .len = room};
	return arig_do(r, 2, &c);
}
static uint32_t sense_2(struct arig *r)
{
	CHECK(packet_2(r, 18, 3, 0, 18, 0) == 0);
	const uint8_t *p = arig_at(r, ARIG_DATA);
	return (uint32_t)(p[2] << 16 | p[12] << 8 | p[13]);
}
static uint64_t event_2(struct arig *r)
{
	CHECK(packet_2(r, 8, 0x4a, 1, 0x10, 8) == 0);
	return got(r, 4, 2);
}
static int disc_of(char *path, unsigned sectors)
{
	int fd = mkstemp(path);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)sectors * 2048));
	return fd;
}

/* As sr_mod looks at it: events, and 28/00 in front of whatever comes next. */
TEST(cdrom_discs_are_changed_from_outside)
{
	struct arig *r = ready();
	struct err e = {0};
	struct blk *disk;
	char a[] = "/tmp/lodge-disc.XXXXXX", b[] = "/tmp/lodge-disc.XXXXXX";
	int first = disc_of(a, 100), second = disc_of(b, 200);
	CHECK(!blk_open(&disk, a, "raw", BLK_RDONLY, &e) &&
	      ahci_add(r->a, disk, true, "x", &e) == 2);
	arig_start(r, 2);
	CHECK(sense_2(r) == 0x062900 && packet_2(r, 8, 0x25, 0, 0, 0) == 0 && got(r, 0, 4) == 99);
	CHECK(ahci_eject(r->a, 0, true, &e) == -ENODEV && ahci_insert(r->a, 0, second, true, &e));
	CHECK(!ahci_insert(r->a, 2, second, false, &e)); /* in place of what is in there */
	CHECK(event_2(r) == 0x0202 && event_2(r) == 0x0002);
	CHECK(packet_2(r, 0, 0, 0, 0, 0) == 0x64 && sense_2(r) == 0x062800);
	CHECK(packet_2(r, 8, 0x25, 0, 0, 0) == 0 && got(r, 0, 4) == 199);
	CHECK(packet_2(r, 0, 0x1e, 0, 1, 0) == 0); /* the guest locks it */
	CHECK(ahci_eject(r->a, 2, false, &e) == -EBUSY && event_2(r) == 0x0102);
	CHECK(ahci_insert(r->a, 2, first, false, &e) == -EBUSY && event_2(r) == 0x0102);
	CHECK(packet_2(r, 8, 0x25, 0, 0, 0) == 0 && got(r, 0, 4) == 199);
	CHECK(!ahci_eject(r->a, 2, true, &e) && event_2(r) == 0x0301);
	CHECK(packet_2(r, 0, 0, 0, 0, 0) == 0x24 && sense_2(r) == 0x023a02);
	CHECK(ahci_eject(r->a, 2, false, &e) == -EALREADY);
	CHECK(!ftruncate(first, 0) && ahci_insert(r->a, 2, first, false, &e) == -EINVAL);
	CHECK(packet_2(r, 0, 0, 0, 0, 0) == 0x24); /* what is none leaves it as it was */
	CHECK(!ftruncate(first, 2048 * 300) && !ahci_insert(r->a, 2, first, false, &e));
	CHECK(event_2(r) == 0x0202 && packet_2(r, 0, 0, 0, 0, 0) == 0x64);
	CHECK(packet_2(r, 8, 0x25, 0, 0, 0) == 0 && got(r, 0, 4) == 299);
	arig_free(r);
	CHECK(!close(first) && !close(second) && !unlink(a) && !unlink(b));
}

TEST(cdrom_tells_of_its_disc)
{
	struct arig *r = ready();
	CHECK(packet(r, 20, "43 00 00 00 00 00 00 00 14") == 0 && got(r, 0, 4) == 0x00120101);
	CHECK(got(r, 4, 4) == 0x00140100 && got(r, 8, 4) == 0 && got(r, 12, 4) == 0x0014aa00);
	CHECK(got(r, 16, 4) == 1024);
	CHECK(packet(r, 20, "43 02 00 00 00 00 aa 00 14") == 0 && got(r, 0, 2) == 10);
	CHECK(got(r, 8, 4) == 0x00000f31); /* 1174 frames: 15 s and 49 */
	CHECK(packet(r, 12, "43 00 01 00 00 00 00 00 0c") == 0 && got(r, 0, 2) == 10);
	CHECK(packet(r, 48, "43 00 02 00 00 00 00 00 30") == 0 && got(r, 0, 2) == 46);
	CHECK(packet(r, 48, "43 00 00 00 00 00 00 00 30 80") == 0 && got(r, 0, 2) == 46);
	CHECK(packet(r, 4, "43 00 05 00 00 00 00 00 04") == 0x54);
	CHECK(packet(r, 4, "43 00 00 00 00 00 00 00 04") == 0 && arig_moved(r, 1) == 4);
	CHECK(packet(r, 30, "5a 00 2a 00 00 00 00 00 1e") == 0 && got(r, 0, 2) == 28);
	CHECK(got(r, 8, 2) == 0x2a14 && packet(r, 9, "5a 00 3e 00 00 00 00 00 09") == 0x54);
	CHECK(packet(r, 200, "5a 00 3f 00 00 00 00 00 c8") == 0 && got(r, 0, 2) == 68);
	CHECK(packet(r, 200, "5a 00 ea 00 00 00 00 00 c8") == 0x54);
	CHECK(packet(r, 200, "46 00 00 00 00 00 00 00 c8") == 0 && got(r, 6, 2) == 8);
	CHECK(got(r, 8, 4) == 0x00000308 && got(r, 12, 4) == 0x00100000 &&
	      got(r, 16, 4) == 0x80100);
	CHECK(packet(r, 200, "46 02 00 1e 00 00 00 00 c8") == 0 && got(r, 0, 4) == 12);
	CHECK(packet(r, 34, "51 00 00 00 00 00 00 00 22") == 0 && got(r, 2, 1) == 0x0e);
	CHECK(packet(r, 36, "52 01 00 00 00 01 00 00 24") == 0 && got(r, 24, 4) == 1024);
	CHECK(packet(r, 16, "42 02 40 01 00 00 00 00 10") == 0 && got(r, 8, 4) == 0x200);
	CHECK(packet(r, 8, "bd 00 00 00 00 00 00 00 00 08") == 0 && got(r, 0, 2) == 0);
	CHECK(packet(r, 8, "ad 00 00 00 00 00 00 00 00 08") == 0x54); /* no DVD */
	CHECK(packet(r, 16, "a0 00 00 00 00 00 00 00 00 10") == 0 && got(r, 0, 4) == 8);
	CHECK(packet(r, 24, "12 01 80 00 18") == 0 &&
	      !memcmp(arig_at(r, ARIG_DATA + 4), "serial", 6));
	CHECK(packet(r, 24, "12 01 99 00 18") == 0x54);
	arig_free(r);
}

/* ---- what is kept */

static void save(struct arig *r, struct buf *b)
{
	struct state s = {.b = b};
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &s);
	CHECK(!state_end(&s, NULL));
	pci_host_resume(r->pci.h);
}
static int load(struct arig *r, struct buf *b)
{
	struct state s = {.b = b, .loading = true};
	b->pos = 0;
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &s);
	int e = state_end(&s, NULL);
	pci_host_resume(r->pci.h);
	return e;
}

TEST(ahci_is_saved_and_goes_on)
{
	auto_buf struct buf first = {0}, second = {0};
	struct arig *r = ready(), *twin = arig_new(false);
	CHECK(packet(r, 0, "1b 00 00 00 02") == 0 && packet(r, 0, "00") == 0x24);
	CHECK(plain(r, 0xef, 0x82, 0) == 0 && plain(r, 0xc6, 0, 8) == 0);
	const struct arig_cmd c = {.op = 0xe5};
	arig_issue(r, 0, 0, &c);
	save(r, &first);
	CHECK(!load(twin, &first));
	memcpy(arig_at(twin, 0), arig_at(r, 0), ARIG_RAM);
	save(twin, &second);
	CHECK(first.len == second.len && !memcmp(first.at, second.at, first.len));
	CHECK(arig_reg(twin, 0, PX_IS) == 1 && sense(twin) == 0x023a02);
	arig_set(twin, 0, PX_IS, 1);
	CHECK(io(twin, READ_EXT, 20, 1, ARIG_DATA, 512) == 0 && *arig_at(twin, ARIG_DATA) == 21);
	CHECK(io(twin, WRITE_EXT, 20, 1, ARIG_DATA, 512) == 0 && twin->disk[0].n[BLK_FLUSH] == 1);
	for (size_t cut = 0; cut < first.len; cut += 1 + cut / 16) {
		struct buf part = {.at = first.at, .len = cut};
		CHECK(load(twin, &part));
	}
	arig_free(twin);
	arig_free(r);
}
