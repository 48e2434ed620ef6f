#ifndef ENGINE_X86_ENGINE_H
#define ENGINE_X86_ENGINE_H
#include "engine/engine.h"
/* x86-64 CPUs in software, without and with a translator, and with both compared. Local APICs are
 * the board's. */
extern const struct engine_ops engine_x86_interp, engine_x86_jit, engine_x86_check;
#endif
