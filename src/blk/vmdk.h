#ifndef BLK_VMDK_H
#define BLK_VMDK_H
#include "blk/impl.h"
/* VMware's sparse extents with the descriptor inside (VMware, "Virtual Disk Format 5.0"; "spec"
 * below), numbers little-endian, places in sectors of 512 bytes. vmdk.c reads both kinds and
 * writes monolithicSparse; vmdk_make.c makes new ones of both. */
enum { /* the header of a sparse extent */
       VH_MAGIC = 0,
       VH_VERSION = 4,
       VH_FLAGS = 8,
       VH_CAPACITY = 12,
       VH_GRAIN = 20,
       VH_DESCRIPTOR = 28,
       VH_DESCRIPTOR_SIZE = 36,
       VH_PER_TABLE = 44,
       VH_SPARE_DIRECTORY = 48,
       VH_DIRECTORY = 56,
       VH_OVERHEAD = 64,
       VH_UNCLEAN = 72,
       VH_NEWLINES = 73,
       VH_COMPRESSION = 77,
       VH_SIZE = 512,
       VMDK_MAGIC = 0x564d444b,
       VMDK_SECTOR = 512,
       VMDK_PER_TABLE = 512,
       VMDK_GRAIN = 128
};
enum {
	VMDK_NEWLINES = 1,
	VMDK_SPARE = 2,
	VMDK_ZEROES = 4,
	VMDK_PACKED = 1 << 16,
	VMDK_MARKED = 1 << 17
};
enum {
	MARKER_END = 0,
	MARKER_TABLE = 1,
	MARKER_DIRECTORY = 2,
	MARKER_FOOTER = 3,
	MARKER_SIZE = 512
};
#define VMDK_AT_END UINT64_MAX /* the directory's place is in the footer */
int vmdk_create(int fd, const struct blk_make *m, struct err *e);
/* All of from as a streamOptimized image, in stream form: written from front to end. name: of the
 * file, for its descriptor. */
int vmdk_stream(struct blk *from, int fd, const char *name,
		void (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx, struct err *e);
#endif
