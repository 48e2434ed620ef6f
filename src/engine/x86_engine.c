/* x86-64 CPUs in software as an engine. */
#include "engine/x86_engine.h"
#include "engine/x86_vcpu.h"
const struct engine_ops engine_x86_interp = {.name = "interp"};
