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
struct port;
struct loop;
struct vclock;

/* 16550A. 8 registers of one byte. The device fills in its half of chr. */
int uart_new(struct device **out, const char *id, struct irq irq, struct chr *chr, struct err *e);
/* Goldfish RTC: wall-clock nanoseconds, alarm. */
int rtc_new(struct device **out, const char *id, struct irq irq, struct loop *l, struct err *e);
/* Begin at a fixed date and go by this clock: for machines that count time. No alarms then. */
void rtc_count(struct device *d, const struct vclock *clock);
/* SiFive test finisher, which a `syscon-poweroff`/`syscon-reboot` pair drives. */
enum power { POWER_OFF, POWER_RESET, POWER_FAIL };
int finisher_new(struct device **out, void (*power)(void *ctx, enum power what, unsigned code),
		 void *ctx, struct err *e);
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

/* virtio: hand the result to a transport at once; it owns it from then. The mem, blk, port, chr
 * outlive it (back ends that call it back are stopped before it is freed), but a blk reference
 * is taken over, also on failure. serial: up to 20 bytes. */
int virtio_blk_new(struct virtio_dev **out, struct gmem *mem, struct blk *disk, const char *serial,
		   struct err *e);
/* One request after the other, each done when the driver's notification is: no time passes. */
void virtio_blk_in_order(struct virtio_dev *v);
int virtio_net_new(struct virtio_dev **out, struct gmem *mem, const uint8_t mac[6],
		   struct port **port, struct err *e); /* *port: its end of the cable */
int virtio_console_new(struct virtio_dev **out, struct gmem *mem, struct chr *chr, struct err *e);
int virtio_rng_new(struct virtio_dev **out, struct gmem *mem, struct err *e);
void virtio_rng_repeat(struct virtio_dev *v); /* the same numbers every time: no secrets */
#endif
