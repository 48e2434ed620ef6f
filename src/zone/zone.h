#ifndef ZONE_ZONE_H
#define ZONE_ZONE_H
/* Kind zone: a guest that is a private system below this host's kernel. guest/guest.h */
struct kind;
extern const struct kind kind_zone;
#endif
