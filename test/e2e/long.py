"""The built-in guest for long: under the check engine, which does each piece of translated code again
by the interpreter, from boot to power-off; and worked hard, while the memory of lodge must not grow."""
import hashlib
import os
import subprocess
import sys
import time

from guest import TOP, boots, check, ends, finish, part, work

os.environ["LODGE_HOME"] = work + "/home"
image = os.environ["GUEST"]
BOOT = ["--kernel", image + "/kernel", "--append", "console=ttyS0 quiet", "--net", "none"]
SOAK = float(os.environ.get("SOAK_SECONDS") or 600)
LINES = hashlib.sha256(b"".join(b"%d\n" % i for i in range(1, 10001))).hexdigest()
FLOATS = "awk 'BEGIN { x = 2 / 3; printf \"%.15f %d\\n\", x * 1.1 - 7, x * 1e9 }'"


def lockstep(cpus, **env):
    name = "check, %d cpu" % cpus
    g = boots(name, *BOOT, "--initrd", image + "/initrd", "--memory", "256M", "--engine", "check", "--cpus", str(cpus), env=env)
    if not g:
        return
    check(name + ": computes", g.says("seq 1 10000 | sha256sum", LINES), g)
    check(name + ": floating point", g.says(FLOATS, "^-6.266666666666667 666666666$"), g)
    spin = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo did-$i"
    check(name + ": all cpus at once",
          g.run("for c in $(seq %d); do sh -c '%s' & done; wait" % (cpus, spin))[1].count("did-2000") == cpus, g)
    check(name + ": forks", g.says("for i in $(seq 50); do sh -c 'exit 3'; done; echo $?", "^3"), g)
    check(name + ": loads modules", g.run("modprobe loop && rmmod loop")[0] == 0, g)
    g.type("exit")
    ends(name, g)


def one_cpu():
    lockstep(1)


def two_cpus():
    lockstep(2, LODGE_WINDOW="early")


PROGRAMS = "sieve icall crc sha256 mul64 div matf libm fcvt strlen text forkexec signal amo smc".split()


def sums(text):
    """NAME SECONDS CHECKSUM of each program that ran."""
    return {f[0]: f[2] for f in (l.split() for l in text.splitlines()) if len(f) == 3 and f[0] in PROGRAMS}


def programs():
    """bench's programs in lockstep: their checksums are those of the same sources compiled for here."""
    sources = [TOP + "/bench/programs/" + f for f in os.listdir(TOP + "/bench/programs") if f.endswith(".c")]
    sources += [TOP + "/bench/interp/work.c"]
    os.makedirs(work + "/tree")
    for gcc, to in (("gcc", work + "/native"), ("riscv64-linux-gnu-gcc", work + "/tree/programs")):
        subprocess.run([gcc, "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-ffp-contract=off", "-static", "-pthread",
                        "-I", TOP + "/bench/programs", "-o", to, *sources, "-lm"], check=True)
    native = subprocess.run([work + "/native", *PROGRAMS], capture_output=True, text=True, check=True)
    packed = subprocess.run("echo programs | cpio -o -H newc", shell=True, cwd=work + "/tree", capture_output=True, check=True)
    with open(image + "/initrd", "rb") as f, open(work + "/initrd", "wb") as out:
        whole = f.read()
        out.write(whole + bytes(-len(whole) % 4) + packed.stdout)
    g = boots("programs", *BOOT, "--initrd", work + "/initrd", "--memory", "512M", "--engine", "check")
    if not g:
        return
    want = sums(native.stdout)
    for name in PROGRAMS:
        got = sums(g.run("/programs " + name, 900)[1])
        check("programs: %s: %s, not %s" % (name, got.get(name), want.get(name)), name in want and got == {name: want[name]}, g)
    g.type("exit")
    ends("programs", g)


STORM = """
for i in $(seq 60); do
	sh -c 'echo $$ > /tmp/pid; exec cat /tmp/pid' > /dev/null &
	(true | cat | wc -l) > /dev/null
	[ $((i %% 10)) != 0 ] || { modprobe loop && rmmod loop; }
done
wait
dd if=/dev/urandom of=/tmp/f bs=64k count=32 2> /dev/null
gzip -c /tmp/f | gunzip | cmp - /tmp/f
%s
seq 1 10000 | sha256sum
""" % FLOATS


def kib(pid, what="VmRSS"):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(what):
                return int(line.split()[1])
    return 0


def soak():
    """After a warm-up that touches nearly all of the guest's memory (what is too much is killed, and perhaps
    its shell) the process grows by what the engine
    keeps of code, which has a bound."""
    g = boots("soak", *BOOT, "--initrd", image + "/initrd", "--memory", "192M", "--cpus", "2")
    if not g:
        return
    g.type("cat > /tmp/storm <<'END'\n%s\nEND" % STORM)
    free = "$(sed -n 's/MemFree: *//p' /proc/meminfo | cut -d' ' -f1)"
    g.run("mkdir -p /m; mount -t tmpfs -o size=$((%s * 9 / 10))k none /m; dd if=/dev/zero of=/m/all bs=1M; rm /m/all" % free)
    good, rounds, sizes, began = True, 0, [], time.monotonic()
    while time.monotonic() - began < SOAK:
        said = g.run("sh /tmp/storm")[1]
        good &= LINES in said and "-6.266666666666667" in said and "differ" not in said
        rounds += 1
        sizes.append((kib(g.p.pid), kib(g.p.pid, "RssAnon")))
    check("soak: %d rounds are right" % rounds, good and rounds > 5, g)
    third = len(sizes) // 3
    middle, last = max(sizes[third:2 * third]), max(sizes[-third:])
    print("    soak: KiB of memory (of it anonymous): %s" % sizes[::max(1, third // 3)])
    # The guest's own, and for each hart its decoded code (128 MiB at most), its translated code and
    # what goes with that.
    bound = (192 + 2 * 192) * 1024
    check("soak: memory is bounded: %s, not %d" % (last, bound), last[0] < bound, g)
    if SOAK >= 300: # by then it has nearly all that it may
        check("soak: memory stays: %s, then %s" % (middle, last), last[0] < middle[0] * 1.05, g)
    check("soak: threads stay", kib(g.p.pid, "Threads") < 20)
    g.type("exit")
    ends("soak", g)


parts = [one_cpu, two_cpus, programs, soak]
for p in parts:
    if len(sys.argv) < 2 or any(a in p.__name__ for a in sys.argv[1:]):
        part(p)
finish()
