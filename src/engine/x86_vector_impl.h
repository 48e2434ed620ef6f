#ifndef ENGINE_X86_VECTOR_IMPL_H
#define ENGINE_X86_VECTOR_IMPL_H
#include "base/types.h"
#include "engine/x86_vector.h"
/* Shared by x86_vector*.c only. */
/* Until the branches that define them meet this one */
#pragma weak x86_load
#pragma weak x86_store
#pragma weak x86_probe
#pragma weak x86_linear
#pragma weak x86_operand_la
#pragma weak x86_operand_ea

enum { X86_TRAP_NM = X86_TRAP + 7, X86_TRAP_MF = X86_TRAP + 16, X86_TRAP_XM = X86_TRAP + 19 };
/* struct x86_xarea: SDM 1, table 13-1 and 13.4. */
enum {
	X_FCW = 0,
	X_FSW = 2,
	X_FTW = 4,
	X_FOP = 6,
	X_FIP = 8,
	X_FDP = 16,
	X_MXCSR = 24,
	X_MXCSR_MASK = 28,
	X_ST = 32,
	X_XMM = 160,
	X_HEADER = 512,
	X_YMM = 576,
};
extern bool x86_vector_has_avx; /* of the host, and its kernel saves it */
#endif
