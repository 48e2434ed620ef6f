#ifndef ENGINE_X86_UNITLOG_H
#define ENGINE_X86_UNITLOG_H
struct tr;
struct x86_block;
/* Tell the translator's log of a block that has just been made of t, at cpu.rip's page. */
void x86_unit_log(const struct tr *t, const struct x86_block *b);
#endif
