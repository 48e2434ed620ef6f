#ifndef DEV_DEV_H
#define DEV_DEV_H
#include "base/err.h"
#include "hw/bus.h"
#include "hw/virtio.h"
#include <stdbool.h>
#include <stdint.h>
/* Every device's constructor. A device is given what it touches (memory, wires, back ends) and
 * knows neither its address nor the guest. Freed with device_free(); virtio devices by their
 * transport. */
struct chr;
struct blk;
struct gmem;
struct port;
struct share;
struct loop;
struct vclock;

/* 16550A. 8 registers of one byte. The device fills in its half of chr. */
int uart_new(struct device **out, const char *id, struct irq irq, struct chr *chr, struct err *e);
/* Goldfish RTC: wall-clock nanoseconds, alarm. */
int rtc_new(struct device **out, const char *id, struct irq irq, struct loop *l, struct err *e);
/* Begin at the clock's epoch and go by this clock: for machines that count time. No alarms then. */
void rtc_count(struct device *d, const struct vclock *clock);
/* SiFive test finisher, which a `syscon-poweroff`/`syscon-reboot` pair drives. */
enum power { POWER_OFF, POWER_RESET, POWER_FAIL };
int finisher_new(struct device **out, void (*power)(void *ctx, enum power what, unsigned code),
		 void *ctx, struct err *e);
/* 16 bytes that are others in each life of a machine, and a pulse when they change. */
enum { VMGENID_LEN = 16, VMGENID_SPAN = 0x1000 };
int vmgenid_new(struct device **out, struct irq irq, const uint8_t id[VMGENID_LEN], struct err *e);
void vmgenid_renew(struct device *d, const uint8_t id[VMGENID_LEN]); /* any thread */
/* PLIC, laid out as riscv,plic0 with two contexts a hart (M then S). out[2*hart] and
 * out[2*hart+1] are the harts' MEI and SEI inputs; copied. */
int plic_new(struct device **out, unsigned sources, const struct irq *to, unsigned contexts,
	     struct err *e);
struct irq plic_line(struct device *plic, unsigned source); /* 1..sources */
/* ACLINT in the SiFive CLINT layout (64 KiB: MSWI, MTIMER) and SSWI (16 KiB). */
int clint_new(struct device **out, unsigned harts, const struct irq *msi, const struct irq *mti,
	      const struct vclock *clock, struct loop *l, struct err *e);
void clint_tick(struct device *d);     /* time has been counted: look */
uint64_t clint_next(struct device *d); /* the time of the next timer interrupt, in ticks */
int sswi_new(struct device **out, unsigned harts, const struct irq *ssi, struct err *e);
/* fw_cfg on 12 ports: items that firmware reads, all of which are added before any CPU runs; at
 * most
 * 60. The constructor makes signature, version and directory. Copied, but lent bytes outlive it. */
enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_UUID = 0x02,
	FW_CFG_MEMORY = 0x03, /* 8 bytes: all of it */
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_CPUS = 0x05, /* 2 bytes */
	FW_CFG_KERNEL_ADDRESS = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_ADDRESS = 0x0a,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_CPUS_MAX = 0x0f,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDRESS = 0x13,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15,
	FW_CFG_SETUP_ADDRESS = 0x16,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_FILE_DIR = 0x19,
	FW_CFG_FILE_FIRST = 0x20,
	FW_CFG_IRQ0_OVERRIDE = 0x8002, /* x86, 4 bytes: the PIT is on IOAPIC input 2 */
};
/* A flash chip of len bytes, a multiple of 4 KiB, with what fd has; kept: changes go there, too. */
int pflash_new(struct device **out, const char *id, int fd, uint64_t len, bool kept, struct err *e);
int fw_cfg_new(struct device **out, struct gmem *mem, struct err *e);
void fw_cfg_item(struct device *d, unsigned key, const void *p, size_t n);
void fw_cfg_lend(struct device *d, unsigned key, const void *p, size_t n);
void fw_cfg_number(struct device *d, unsigned key, uint64_t v, unsigned len);
void fw_cfg_file(struct device *d, const char *name, const void *p, size_t n);

/* virtio: hand the result to a transport at once; it owns it from then. The mem, blk, port, chr
 * outlive it (back ends that call it back are stopped before it is freed), but a blk reference
 * is taken over, also on failure. A disk that is not open yet is NULL, and given before any CPU
 * runs and any state is loaded. serial: up to 20 bytes. */
int virtio_blk_new(struct virtio_dev **out, struct gmem *mem, struct blk *disk, const char *serial,
		   struct err *e);
void virtio_blk_disk(struct virtio_dev *v, struct blk *disk);
/* One request after the other, each done when the driver's notification is: no time passes. */
void virtio_blk_in_order(struct virtio_dev *v);
/* The most it does a second from now on, 0: no limit; on the loop's thread. */
int virtio_blk_limit(struct virtio_dev *v, struct loop *l, uint64_t bytes, uint64_t ops,
		     struct err *e);
int virtio_net_new(struct virtio_dev **out, struct gmem *mem, const uint8_t mac[6],
		   struct port **port, struct err *e); /* *port: its end of the cable */
int virtio_console_new(struct virtio_dev **out, struct gmem *mem, struct chr *chr, struct err *e);
/* Sockets between guest and host, of streams. The guest's address is 3, the host's 2; addresses of
 * another guest's device mean nothing here. dial, on the loop's thread: a connected socket, which
 * becomes the device's, for what a program of the guest at port from connects to; negative:
 * refused.
 */
struct vsock_host {
	int (*dial)(void *ctx, uint32_t from, uint32_t to);
	void *ctx;
};
int virtio_vsock_new(struct virtio_dev **out, struct gmem *mem, struct loop *l,
		     const struct vsock_host *host, struct err *e);
/* On the loop's thread: connect a socket to a port of the guest's. It is the device's from then on,
 * unless this fails, and is closed when the guest refuses. -EAGAIN: nothing drives the device. */
int virtio_vsock_connect(struct virtio_dev *v, int fd, uint32_t port, struct err *e);
/* A port of that name (up to 63 bytes) for a program of the guest, such as QEMU's guest agent.
 * open, on the loop's thread, when the guest opens it: a connected socket, which becomes the
 * device's, for what goes through it; negative: nobody is there, and what the guest says is lost.
 */
struct serial_host {
	int (*open)(void *ctx);
	void *ctx;
};
int virtio_serial_new(struct virtio_dev **out, struct gmem *mem, struct loop *l, const char *name,
		      const struct serial_host *host, struct err *e);
int virtio_rng_new(struct virtio_dev **out, struct gmem *mem, struct err *e);
/* tag: what the guest mounts it by, up to 36 bytes. The share outlives the device. */
int virtio_fs_new(struct virtio_dev **out, struct gmem *mem, struct share *share, const char *tag,
		  struct err *e);
/* Gives memory back to the host. Any thread, in bytes: how much the guest is to give away; how that
 * stands. Looking asks the guest for new figures, which are there some milliseconds later. */
struct balloon_report {
	bool driven;		 /* by the guest */
	uint64_t target, actual; /* actual is what the guest says */
	uint64_t returned;	 /* ever, that which was reported free included */
	uint64_t used;		 /* of its memory, by the guest; 0: not known */
};
int virtio_balloon_new(struct virtio_dev **out, struct gmem *mem, struct err *e);
void virtio_balloon_target(struct virtio_dev *v, uint64_t bytes);
void virtio_balloon_look(struct virtio_dev *v, struct balloon_report *to);
/* The same numbers for the same seed, which is not 0: no secrets. */
void virtio_rng_repeat(struct virtio_dev *v, uint64_t seed);

/* NVMe 1.4 controller with one namespace, plugged into h, whose it is. The blk reference is taken
 * over, also on failure, and may come later, as for virtio. serial: up to 20 characters. in_order:
 * as virtio_blk_in_order(). */
struct pci_host;
struct nvme;
int nvme_new(struct nvme **out, struct pci_host *h, struct gmem *mem, struct blk *disk,
	     const char *serial, bool in_order, struct err *e);
void nvme_disk(struct nvme *n, struct blk *disk);

/* AHCI 1.3.1 controller, plugged into h. Drives are added before any CPU runs, and are its ports 0,
 * 1, ...: the port, or -errno. The blk reference is taken over, also on failure, and may come
 * later, as for virtio. serial: up to 20 characters. A CD drive reads whole sectors of 2 KiB. */
enum { AHCI_PORTS = 8 };
struct ahci;
struct pci_func;
int ahci_new(struct ahci **out, struct pci_host *h, struct gmem *mem, bool in_order, struct err *e);
int ahci_add(struct ahci *a, struct blk *disk, bool is_cd, const char *serial, struct err *e);
void ahci_disk(struct ahci *a, unsigned port, struct blk *disk);
struct pci_func *ahci_func(struct ahci *a);
/* The disc of a CD drive, on the loop's thread: out of it; in it, in place of what is in there: a
 * raw image that fd reads. The guest hears of it as of a real drive's. -EBUSY: it has locked the
 * tray and is asked to let go (MMC-5 6.6.2.4.1), unless forced. -ENODEV: no CD drive. */
int ahci_eject(struct ahci *a, unsigned port, bool force, struct err *e);
int ahci_insert(struct ahci *a, unsigned port, int fd, bool force, struct err *e);
/* As virtio_blk_limit(); of a drive of the controller. */
int nvme_limit(struct nvme *n, struct loop *l, uint64_t bytes, uint64_t ops, struct err *e);
int ahci_limit(struct ahci *a, unsigned port, struct loop *l, uint64_t bytes, uint64_t ops,
	       struct err *e);
#endif
