#ifndef VM_BOARD_H
#define VM_BOARD_H
#include "base/err.h"
#include "base/types.h"
#include "hw/bus.h"
#include "hw/pci.h"
#include "vm/load.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What harts are wired to: the operations of a board, of which there is one for each CPU, and what
 * all boards have. */
struct board;
struct engine_env;
struct engine_ops;
struct gate;
struct hart;
struct limits;
struct port;
struct rate;
struct share;
struct spec;
struct state;
struct virtio_dev;
struct ahci;
struct blk_held;
struct nvme;
struct vm;

enum { BOARD_SHARES = 9, BOARD_DISKS = 8 };
enum { BOARD_CHIPS = 16 };
struct board_ops {
	uint64_t hz; /* of the computer's clock */
	/* Engines of its CPU in software, NULL-ended: by itself Lodge takes the first that opens.
	 */
	const struct engine_ops *const *engines;
	const char *engine_names; /* all there are, for words */
	/* What the spec asks for that this board cannot be: one sentence. */
	int (*check)(const struct spec *s, struct err *e);
	/* vm->board, its boot files opened, its memory there; freed by free(). */
	int (*make)(struct vm *vm, struct err *e);
	/* Before vm->ops is opened: what that has to know of this board, and may ask at once. */
	int (*engine)(struct vm *vm, struct engine_env *env, struct err *e);
	int (*wire)(struct vm *vm,
		    struct err *e); /* its devices, wired to vm's harts, which exist */
	/* While halted: load what boots and set up the harts, as after power-on. */
	int (*boot)(struct vm *vm, struct err *e);
	/* On the hart's thread: after its reset, for hart_start() and such; at VCPU_SYSCALL. NULL
	 * where nobody asks for them. */
	void (*begin)(struct hart *h);
	void (*call)(struct hart *h);
	void (*reset)(struct vm *vm); /* every device to its cold state; harts are halted */
	/* While halted: what has time of its own stops, after the clock did; and goes on. */
	void (*pause)(struct vm *vm);
	void (*resume)(struct vm *vm);
	/* Its chips, in the order in which their state is to be read; NULL: there is none. And the
	 * state of what is none of them; may be NULL. */
	unsigned (*chips)(struct vm *vm, struct device *out[BOARD_CHIPS]);
	void (*state)(struct vm *vm, struct state *s);
	/* On the hart's thread, if its time is counted: raise what is due; when the next is, in
	 * ticks. */
	uint64_t (*tick)(void *vm, bool pause);
	bool (*button)(struct vm *vm); /* any thread: power; false: the guest does not listen */
	bool (*hears)(struct vm *vm);  /* the same: whether it would; there is one if button is */
	void (*free)(struct board *b); /* no hart runs; NULL and half-built are fine */
};
extern const struct board_ops board_virt, board_pc;

enum { BOARD_NETS = 4 };
struct board_drive {	    /* where firmware and kernels find a disk of the spec */
	uint8_t slot, port; /* of PCI; of what is there, SATA only */
};
/* Embedded first in every board's own struct. */
struct board {
	struct load_file firmware, kernel, initrd;
	int vars;			  /* what firmware keeps, to be read; -1: nothing */
	struct device *uart, *generation; /* generation is the board's own, too */
	struct pci_host *pci;
	struct port *card[BOARD_NETS];	/* the ends of its network cards, which are theirs */
	struct gate *gate[BOARD_NETS];	/* where frames wait for their turn; may be NULL */
	struct port *cable[BOARD_NETS]; /* what those are wired to */
	struct rate *rate[BOARD_NETS];	/* and what slows them down; may be NULL */
	struct share *share[BOARD_SHARES];
	struct virtio_dev *disk[BOARD_DISKS], *balloon; /* its bus's; NULL: none */
	struct nvme *nvme[BOARD_DISKS];			/* the bus's, too */
	struct ahci *ahci;				/* the same */
	struct board_drive drive[BOARD_DISKS];
	struct blk_held *held[BOARD_DISKS]; /* until it is read; NULL: it is, or was raw */
	struct virtio_dev *vsock; /* NULL: time is counted, so nobody may come from outside */
	gpa_t kernel_at;	  /* where a kernel goes, for those who look for its symbols */
};
/* As kind's media. */
int board_media(struct vm *vm, unsigned nth, int fd, bool force, struct err *e);
void board_init(struct board *b);
int board_files(struct board *b, const struct spec *s, struct err *e); /* open those asked for */
/* Ends the outside world, which has threads, and frees what is above; the rest comes after. */
void board_done(struct board *b);
/* What is in images that are open is read: when nothing else can be opened any more, and before the
 * guest is filled. */
int board_disks(struct vm *vm, struct err *e);
/* Start the servers of shared folders: when guest memory is there, and nothing else that they must
 * not have (fs/share.h). */
int board_shares(struct board *b, const struct spec *s, struct err *e);
/* What no board can be. */
int board_check(const struct spec *s, struct err *e);

int board_uart(struct vm *vm, struct irq irq, struct err *e);
/* Which life of the machine this is; the board's to map and free. And: a new one has begun. */
int board_generation(struct vm *vm, struct device **out, struct irq irq, struct err *e);
int board_regenerate(struct vm *vm, struct err *e);
/* Host bridge and ECAM, and virtio functions for what the spec asks for. */
struct board_pci {
	struct pci_windows windows;
	gpa_t ecam;
	uint64_t ecam_len;
	struct irq intx[4];
	struct pci_msi msi; /* send NULL: none */
};
int board_pci_wire(struct vm *vm, const struct board_pci *w, struct err *e);
int board_plug(struct vm *vm, struct err *e);
/* Whatever of it devices keep; on the loop's thread. */
int board_limit(struct vm *vm, const struct limits *l, struct err *e);
/* What went through its disks and network cards. */
struct guest_stats;
void board_stats(const struct vm *vm, struct guest_stats *to);
void board_reset(struct board *b, struct device *const *chips, size_t n); /* NULLs are fine */
void board_stop(struct board *b, struct device *const *chips, size_t n);  /* NULLs are fine */
void board_go(struct board *b, struct device *const *chips, size_t n);
/* Time is counted, and others may do something: what was typed comes. */
void board_pause(struct vm *vm);
/* Random, but where the guest is to do the same every time. */
int board_seed(struct vm *vm, uint8_t *to, size_t n, struct err *e);
#endif
