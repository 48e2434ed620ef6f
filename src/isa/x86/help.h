#ifndef ISA_X86_HELP_H
#define ISA_X86_HELP_H
#include "isa/x86/step.h"
/* HELPER(name) of the table: what is too irregular for a meaning. 0 or a trap; a trap leaves all
 * registers as they were, but for string instructions. Source: Intel SDM vol. 2. */
#define X86_HELP(name) int x86_help_##name(struct x86_cpu *c, const struct x86_insn *in)
X86_HELP(pop);
X86_HELP(cwd);
X86_HELP(tzcnt);
X86_HELP(lzcnt);
X86_HELP(bt);
X86_HELP(bts);
X86_HELP(btr);
X86_HELP(btc);
X86_HELP(bzhi);
X86_HELP(bextr);
X86_HELP(blsr);
X86_HELP(blsmsk);
X86_HELP(blsi);
X86_HELP(adcx);
X86_HELP(adox);
X86_HELP(mul);
X86_HELP(imul1);
X86_HELP(div);
X86_HELP(idiv);
X86_HELP(mulx);
X86_HELP(crc32);
X86_HELP(cmpxchg);
X86_HELP(cmpxchg8b);
X86_HELP(cmpxchg16b);
X86_HELP(movs);
X86_HELP(stos);
X86_HELP(lods);
X86_HELP(cmps);
X86_HELP(scas);
X86_HELP(pushf);
X86_HELP(popf);
X86_HELP(sahf);
X86_HELP(lahf);
X86_HELP(cld);
X86_HELP(std);
X86_HELP(loop);
X86_HELP(loope);
X86_HELP(loopne);
X86_HELP(jcxz);
X86_HELP(ret);
X86_HELP(xlat);
X86_HELP(enter);
X86_HELP(leave);
X86_HELP(pusha);
X86_HELP(popa);
X86_HELP(bound);
X86_HELP(daa);
X86_HELP(das);
X86_HELP(aaa);
X86_HELP(aas);
X86_HELP(aam);
X86_HELP(aad);
#undef X86_HELP
#endif
