"""What the built-in guest is asked whatever its CPU is."""
import hashlib
import re
import time

from guest import boots, check, ends


def sha(data):
    return hashlib.sha256(data).hexdigest()


def lines(n):
    return b"".join(b"%d\n" % i for i in range(1, n + 1))


def computes(name, cpus, machine, *args):
    g = boots(name, *args, "--cpus", str(cpus))
    if not g:
        return
    check(name + ": %s Linux" % machine, g.says("uname -sm", "^Linux %s$" % machine), g)
    check(name + ": counts its cpus", g.says("nproc", "^%d$" % cpus), g)
    check(name + ": computes", g.says("seq 1 10000 | sha256sum", sha(lines(10000))), g)
    check(name + ": floating point",
          g.says("awk 'BEGIN { x = 2 / 3; printf \"%.15f %d\\n\", x * 1.1 - 7, x * 1e9 }'",
                 "^-6.266666666666667 666666666$"), g)
    spin = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo did-$i"
    each = "for c in $(seq 0 %d); do taskset $((1<<c)) sh -c '%s' & done; wait" % (cpus - 1, spin)
    check(name + ": all cpus at once", g.run(each)[1].count("did-3000") == cpus, g)
    check(name + ": sleeps and wakes", g.says("sleep 1; echo awake", "^awake"), g)
    check(name + ": has entropy", g.says("head -c 4096 /dev/hwrng | wc -c", "^4096"), g)
    clock = int(re.search(r"\d{9,}", g.run("date +%s")[1]).group())
    check(name + ": knows the time", abs(clock - time.time()) < 3600, g)
    g.type("sh -c 'echo be''gun; sleep 1000'")
    g.expect("^begun")
    g.type("\x03", end="")
    check(name + ": ^C reaches the program", g.says("echo back", "^back"), g)
    g.type("exit")
    ends(name, g)
