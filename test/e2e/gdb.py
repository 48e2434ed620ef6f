"""A debugger at a guest: gdb-multiarch, and our own words of its protocol for what it says at odd
moments. Addresses are the kernel's own, from /proc/kallsyms."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

from guest import LIMIT, LODGE, TOP, Guest, check, finish, give_up, part, refuses, tried, work

os.environ["LODGE_HOME"] = work + "/home"
IMAGE = {"riscv64": os.environ["GUEST"], "amd64": os.environ["AMD64"]}
PC = {"riscv64": "pc", "amd64": "rip"}
names = {}


def base(arch, engine, *more):
    image = IMAGE[arch]
    return ["--arch", arch, "--engine", engine, "--kernel", image + "/kernel", "--initrd",
            image + "/initrd", "--memory", "512M", "--net", "none", *more]


def append(run):
    return ["--append", 'console=ttyS0 quiet nokaslr lodge.run="%s"' % run]


def symbols(arch):
    """Functions and variables of the guest's kernel by name."""
    if arch not in names:
        g = Guest(*base(arch, "auto"), *append("cat /proc/kallsyms"))
        g.end()
        names[arch] = {m[2]: int(m[1], 16)
                       for m in re.finditer(r"^([0-9a-f]{16}) \w (\S+)$", g.text, re.M)}
    return names[arch]


class Debugged(Guest):
    def __init__(self, arch, engine, *more, wait=True, run="echo he''llo"):
        self.path = work + "/gdb.sock"
        super().__init__(*base(arch, engine, *more), "--gdb", "unix:" + self.path,
                         *(["--gdb-wait"] if wait else []), *append(run))
        until = time.monotonic() + 60
        while not os.path.exists(self.path) and time.monotonic() < until:
            time.sleep(0.05)

    def gdb(self, *words, limit=240):
        command = ["gdb-multiarch", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set pagination off",
                   "-ex", "target remote " + self.path]
        for w in words:
            command += ["-ex", w]
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=limit)
        return p.stdout


class Stub:
    """One end of the protocol."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(path)
        self.text = b""

    def send(self, body):
        b = body.encode()
        self.s.sendall(b"$%s#%02x" % (b, sum(b) & 255))

    def answer(self):
        while not (m := re.search(rb"\$([^#]*)#..", self.text)):
            data = self.s.recv(65536)
            if not data:
                return None
            self.text += data
        self.text = self.text[m.end():]
        return m[1].decode("latin-1")

    def ask(self, body):
        self.send(body)
        return self.answer()

    def close(self):
        self.s.close()


def session(arch, engine):
    """From the first instruction to the end, with two CPUs."""
    s, name = symbols(arch), "%s %s: " % (arch, engine)
    g = Debugged(arch, engine, "--cpus", "2", run="for i in 1 2 3 4; do ls / > /dev/null & done; wait; echo he''llo")
    forks = "*(int *)0x%x" % s["total_forks"]
    said = g.gdb("info threads", "hbreak *0x%x" % s["start_kernel"], "continue", "delete",
                 "break *0x%x" % s["do_sys_openat2"], *["continue"] * 3, "info threads",
                 "delete", "watch " + forks, "continue", "continue", "delete", "rwatch " + forks,
                 "continue", "x/i $pc", "delete", "info registers", "continue")
    stops = r"Thread \d hit Breakpoint 2, 0x0*%x" % s["do_sys_openat2"]
    check(name + "has two threads", len(re.findall(r"^[* ] +\d +Thread \d \(CPU", said, re.M)) == 4)
    check(name + "stops at start_kernel", "hit Hardware assisted breakpoint 1, 0x%016x" % s["start_kernel"]
          in said or "hit Breakpoint 1, 0x%016x" % s["start_kernel"] in said)
    check(name + "stops at each open", len(re.findall(stops, said)) == 3)
    values = [int(v) for v in re.findall(r"(?:Old|New) value = (\d+)", said)]
    ok = len(values) == 4 and values[1] == values[0] + 1 and values[3] == values[2] + 1
    check(name + "watches writes (%s)" % values, ok)
    check(name + "watches reads", "hit Hardware read watchpoint" in said)
    check(name + "ends with the guest", "exited normally" in said)
    if not check(name + "lets the guest run", tried(g.expect, "^hello") and tried(g.end) == 0, g):
        print(said[-3000:])


STATE = """python
import gdb, json
def state():
    return {n: int(gdb.parse_and_eval("$" + n).format_string(format="x"), 16) for n in %r}
def out(x): print("STATE " + json.dumps(x))
%s
end"""
REGS = {"riscv64": ["pc", "ra", "sp", "gp", "tp"] + ["%s%d" % (k, i) for k, n in (("a", 8), ("t", 7)) for i in range(n)]
        + ["s%d" % i for i in range(1, 12)] + ["fp"],
        "amd64": ["rip", "eflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"] + ["r%d" % i for i in range(8, 16)]}


def trace(arch, engine, code):
    script = work + "/trace.gdb"
    with open(script, "w") as f:
        f.write(STATE % (REGS[arch], code))
    g = Debugged(arch, engine)
    said = g.gdb("hbreak *0x%x" % symbols(arch)["start_kernel"], "continue", "delete", "source " + script,
                 "kill")
    tried(g.end)
    return [json.loads(l[6:]) for l in said.splitlines() if l.startswith("STATE ")]


def exact(arch):
    """Steps are the same by both engines, and what translated code stops with is what steps came to."""
    steps = 1000
    code = "out(state())\nfor i in range(%d):\n    gdb.execute('stepi', to_string=True)\n    out(state())" % steps
    by_interp = trace(arch, "interp", code)
    by_jit = trace(arch, "jit", code)
    pc = PC[arch]
    check("%s: %d steps (%d)" % (arch, steps, len(by_interp)), len(by_interp) == steps + 1)
    check("%s: steps are the same by both engines" % arch, by_interp == by_jit)
    count = {}
    for x in by_interp:
        count[x[pc]] = count.get(x[pc], 0) + 1
    once = [x for x in by_interp[1:] if count[x[pc]] == 1]
    some = once[::max(1, len(once) // 60)]
    code = "for at in %r:\n    gdb.execute('tbreak *%%d' %% at, to_string=True)\n" % [x[pc] for x in some]
    code += "    gdb.execute('continue', to_string=True)\n    out(state())"
    stops = trace(arch, "jit", code)
    check("%s: %d stops in translated code have the state that steps came to" % (arch, len(some)),
          len(some) > 20 and stops == some)


def odd_moments(arch):
    """What no debugger at a terminal does, or not often."""
    name, s = arch + ": ", symbols(arch)
    g = Debugged(arch, "jit", "--cpus", "2", wait=False, run="sleep 1000")
    d = Stub(g.path)
    check(name + "whoever connects finds it stopped", d.ask("?").startswith("T02"))
    late = Stub(g.path)
    said = late.ask("qSupported")
    check(name + "another one is told", "another debugger" in (said or ""))
    late.close()
    d.send("c")
    time.sleep(1)
    d.s.sendall(b"\x03")
    check(name + "is interrupted", (d.answer() or "").startswith("T02thread"))
    check(name + "two threads", d.ask("qfThreadInfo") == "m1,2")
    at = s["panic_timeout"]
    was = d.ask("m%x,4" % at)
    check(name + "memory is written", d.ask("M%x,4:78563412" % at) == "OK" and d.ask("m%x,4" % at) == "78563412")
    d.ask("M%x,4:%s" % (at, was))
    check(name + "what is nowhere is an error", (d.ask("m10,4") or "").startswith("E"))
    check(name + "bad packets are refused", d.ask("Z0,zz") == "" and d.ask("vCont;x").startswith("E")
          and d.ask("p%x" % 5000).startswith("E") and d.ask("nonsense") == "")
    words = "regs".encode().hex()
    check(name + "monitor regs", "priv" in bytes.fromhex(d.ask("qRcmd," + words)).decode() or arch == "amd64")
    d.ask("qRcmd," + b"reset".hex())
    check(name + "stops anew after a reset", d.ask("Z1,%x,1" % s["start_kernel"]) == "OK")
    d.send("c")
    check(name + "and starts again", (d.answer() or "").startswith("T05thread:1"))
    check(name + "detaches", d.ask("D") == "OK")
    d.close()
    d = Stub(g.path)
    check(name + "and takes the next", d.ask("?").startswith("T02"))
    d.send("k")
    code = tried(g.end)
    check(name + "is killed (%s)" % code, code == 137, g)
    d.close()


def executed(arch, engine, steps=300):
    """What --trace-cpu writes is where gdb's steps come to. A REP is one there, many for gdb."""
    name, out = "%s %s: " % (arch, engine), work + "/" + arch + ".trace"
    code = "for i in range(%d):\n    out(state())\n    gdb.execute('stepi', to_string=True)" % steps
    script = work + "/executed.gdb"
    with open(script, "w") as f:
        f.write(STATE % ([PC[arch]], code))
    g = Debugged(arch, engine, "--trace-cpu", "insn,count=%d:%s" % (4 * steps, out))
    said = g.gdb("source " + script, "kill")
    tried(g.end)
    states = [json.loads(l[6:])[PC[arch]] for l in said.splitlines() if l.startswith("STATE ")]
    with open(out) as f:
        lines = [l for l in f if l[0].isdigit()]
    traced = [int(l.split()[2], 16) for l in lines]
    short = [a for a, b in zip(states, [None] + states) if a != b]
    if arch == "amd64":
        traced = [a for a, b in zip(traced, [None] + traced) if a != b]
    check(name + "%d steps" % len(states), len(states) == steps)
    check(name + "traced are gdb's steps", len(short) > 50 and traced[:len(short)] == short)


def traced_as_by_qemu():
    """A bare program of harts' traps, to its end: each instruction is one that QEMU executed, too."""
    qemu, log, out = shutil.which("qemu-system-riscv64"), work + "/qemu.trace", work + "/own.trace"
    if not qemu:
        return print("    there is no qemu-system-riscv64")
    here, elf = os.path.join(TOP, "test/guest"), work + "/traced.elf"
    subprocess.run(["riscv64-linux-gnu-gcc", "-march=rv64imac_zicsr_zifencei", "-mabi=lp64", "-mcmodel=medany",
                    "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-no-pie", "-O1", "-Wl,--build-id=none",
                    "-Wl,--no-warn-rwx-segments", "-Wl,--defsym=BASE=0x80000000", "-T", here + "/link.ld",
                    "-o", elf, here + "/start.S", here + "/rt.c", here + "/pmp.c"], check=True)
    subprocess.run([qemu, "-M", "virt", "-m", "64M", "-nographic", "-singlestep", "-bios", elf, "-d", "exec,nochain",
                    "-D", log], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=LIMIT)
    g = Guest("--net", "none", "-m", "64M", "--firmware", elf, "--trace-cpu", "insn:" + out)
    check("a bare program ends", tried(g.end) == 0, g)
    with open(log) as f:
        theirs = [int(m[1], 16) for m in re.finditer(r"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/", f.read(), re.M)]
    with open(out) as f:
        ours = [int(l.split()[2], 16) for l in f if l[0].isdigit()]
    ours, theirs = ([pc for pc in all if pc >= 0x80000000] for all in (ours, theirs))
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    check("all %d instructions are QEMU's %d (%d)" % (len(ours), len(theirs), same),
          len(ours) > 1000 and same == len(ours))


def modes():
    """16-bit and 32-bit code of x86 can be read and stepped, by firmware's first steps."""
    bios = "/usr/share/seabios/bios-256k.bin"
    g = Guest("--arch", "amd64", "--engine", "jit", "--firmware", bios, "--net", "none", "--memory", "64M",
              "--gdb", "unix:" + work + "/bios.sock", "-S")
    until = time.monotonic() + 60
    while not os.path.exists(work + "/bios.sock") and time.monotonic() < until:
        time.sleep(0.05)
    d = Stub(work + "/bios.sock")
    check("real mode: code at the reset vector", (d.ask("mfffffff0,1") or "") in ("ea", "e9"))
    d.send("s")
    check("real mode: steps", (d.answer() or "").startswith("T05"))
    rip = d.ask("p10")
    check("real mode: is somewhere else (%s)" % rip, rip and not rip.startswith("f0ff"))
    text = bytes.fromhex(d.ask("qRcmd," + b"dis".hex())).decode()
    check("real mode: disassembles", text.startswith("> "))
    d.send("k")
    tried(g.end)
    d.close()


def looks(arch):
    """lodge debug, at a guest that runs."""
    name = "looker-" + arch
    g = Guest(*base(arch, "jit", "--cpus", "2"), "--name", name, "--rm", *append("echo re''ady; sleep 1000"))
    if not check(arch + ": runs", tried(g.expect, "^ready"), g):
        return give_up(g)

    def debug(*words):
        return subprocess.run([LODGE, "debug", name, *words], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=60).stdout

    text = debug("regs")
    check(arch + ": regs", re.search(r"^(zero|rax) +[0-9a-f]{16}", text))
    calls = [debug("cpu", str(i), "backtrace") for i in (0, 1) for _ in range(3)]
    check(arch + ": somebody idles, by name", any("do_idle" in c for c in calls))
    at = "0x%x" % symbols(arch)["do_sys_openat2"]
    check(arch + ": code by name", "do_sys_openat2+0x0:" in debug("dis", at, "3"))
    found = re.search(r"is at (0x[0-9a-f]+), in a page", debug("pagetable", at))
    check(arch + ": an address is translated", found)
    if found:
        here, there = debug("mem", at, "16"), debug("phys", found[1], "16")
        check(arch + ": and memory is there", here.split()[1:] == there.split()[1:] and len(here) > 60)
    check(arch + ": mappings", len(debug("pagetable").splitlines()) > 20)
    check(arch + ": words are checked", "there are: regs" in debug("nonsense") and "0 to 1" in debug("cpu", "9", "regs"))
    give_up(g)


def refusals():
    for where in ("x", "70000", "1.2.3.4.5:1", "unix:"):
        refuses("--gdb " + where, "--gdb", "--gdb", where)
    refuses("--gdb-wait alone", "--gdb", "--gdb-wait")


def named(name, fn, *args):
    def call():
        fn(*args)
    call.__name__ = name
    return call


PARTS = []
for arch in ("riscv64", "amd64"):
    for engine in ["jit"] + (["interp"] if os.environ.get("LONG") else []):
        PARTS.append(named("session-%s-%s" % (arch, engine), session, arch, engine))
    PARTS.append(named("exact-" + arch, exact, arch))
    PARTS.append(named("executed-" + arch, executed, arch, "jit"))
    PARTS.append(named("odd-" + arch, odd_moments, arch))
    PARTS.append(named("looks-" + arch, looks, arch))
PARTS += [traced_as_by_qemu, modes, refusals]
for fn in PARTS:
    if not sys.argv[1:] or fn.__name__ in sys.argv[1:]:
        part(fn)
finish()
