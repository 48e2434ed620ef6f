"""A debugger at a kernel that begins to boot on this machine's /dev/kvm: gdb-multiarch, and some words of
its protocol. The translator is the oracle: the same kernel, the same steps. Lines "ok: " and "FAILED: "
are for here.sh."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

LODGE, GUEST, CPU, work = os.environ["LODGE"], os.environ["GUEST"], sys.argv[1], sys.argv[2]
SOCKET, LIMIT = work + "/gdb.sock", 120
REGS = ["rip", "eflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"] + ["r%d" % i for i in range(8, 16)]
STEPS = """python
import gdb, json
gdb.execute("set $rdx = 0x12345678")  # what a CPU begins with is its own
for i in range(%d):
    print("STATE " + json.dumps([int(gdb.parse_and_eval("$" + n).format_string(format="x"), 16) for n in %r]))
    gdb.execute("stepi", to_string=True)
end
"""


def check(what, good, *more):
    print("ok: " + what if good else "FAILED: %s %s" % (what, " ".join(str(m) for m in more)))
    return good


class Machine:
    def __init__(self, engine, *more):
        self.said = open(work + "/debugged", "w+")
        self.p = subprocess.Popen([LODGE, "run", "--engine", engine, "--arch", "amd64", "--cpu", CPU, "--memory", "128M",
                                   "--net", "none", "--name", "debugged", "--rm", "--kernel", GUEST + "/kernel",
                                   "--initrd", GUEST + "/initrd", "--append", "console=ttyS0 earlyprintk=ttyS0 nokaslr",
                                   "--gdb", "unix:" + SOCKET, "--gdb-wait", *more], stdin=subprocess.DEVNULL,
                                  stdout=self.said, stderr=subprocess.STDOUT)
        until = time.monotonic() + LIMIT
        while not os.path.exists(SOCKET) and self.p.poll() is None and time.monotonic() < until:
            time.sleep(0.05)

    def text(self):
        with open(work + "/debugged", errors="replace") as f:
            return f.read()

    def gdb(self, *words):
        command = ["gdb-multiarch", "-nx", "-batch", "-ex", "set confirm off", "-ex", "target remote " + SOCKET]
        for w in words:
            command += ["-ex", w]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=LIMIT).stdout

    def ends(self):
        try:
            return self.p.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.p.send_signal(signal.SIGTERM)
            return None


class Stub:
    def __init__(self):
        self.s, self.text = socket.socket(socket.AF_UNIX), b""
        self.s.settimeout(LIMIT)
        self.s.connect(SOCKET)

    def send(self, body):
        self.s.sendall(b"$%s#%02x" % (body.encode(), sum(body.encode()) & 255))

    def answer(self):
        while not (m := re.search(rb"\$([^#]*)#..", self.text)):
            data = self.s.recv(65536)
            if not data:
                return ""
            self.text += data
        self.text = self.text[m.end():]
        return m[1].decode("latin-1")

    def ask(self, body):
        self.send(body)
        return self.answer()


def states(engine, steps):
    script = work + "/steps.gdb"
    with open(script, "w") as f:
        f.write(STEPS % (steps, REGS))
    m = Machine(engine)
    said = m.gdb("source " + script, "kill")
    check("%s: is killed by gdb" % engine, m.ends() == 137, m.text()[-300:])
    return [json.loads(l[6:]) for l in said.splitlines() if l.startswith("STATE ")]


def steps():
    """Each step comes to the same registers by both engines; its breakpoints are met with them, too."""
    n = 120
    ours, theirs = states("kvm", n), states("jit", n)
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    check("%d steps as the translator's" % n, same == n, same, ours[same:same + 1], theirs[same:same + 1])
    return ours


def stops(ours):
    count = {}
    for s in ours:
        count[s[0]] = count.get(s[0], 0) + 1
    once = [s for s in ours[1:] if count[s[0]] == 1]
    some = once[::max(1, len(once) // 6)]
    m, words = Machine("kvm", "--cpus", "2"), ["info threads"]
    for i, s in enumerate(some):
        words += ["%s *0x%x" % ("break" if i % 2 else "hbreak", s[0]), "continue", "x/xb $pc",
                  "printf \"AT %lx %lx %lx\\n\", $rip, $rbx, $rsp", "delete"]
    said = m.gdb(*words, "detach")
    check("two CPUs are two threads", len(re.findall(r"^[* ] +\d +Thread \d \(CPU", said, re.M)) == 2, said)
    at = [tuple(int(x, 16) for x in a) for a in re.findall(r"^AT (\w+) (\w+) (\w+)$", said, re.M)]
    check("%d breakpoints are met as steps came there" % len(some),
          len(some) > 4 and at == [(s[0], s[3], s[9]) for s in some], at, said[-600:])
    return m


def interrupts(m):
    """It runs on, is stopped at some moment, is what lodge debug says, and its memory is what it is."""
    until = time.monotonic() + LIMIT
    while "KASLR disabled" not in m.text() and m.p.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    check("it goes on without a debugger", "KASLR disabled" in m.text(), m.text()[-300:])
    d = Stub()
    check("whoever connects finds it stopped", d.ask("?").startswith("T02"))
    rip = int.from_bytes(bytes.fromhex(d.ask("p10")), "little")
    code = d.ask("m%x,8" % rip)
    said = subprocess.run([LODGE, "debug", "debugged", "mem", "0x%x" % rip, "8"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT).stdout
    check("memory at rip is lodge debug's", len(code) == 16 and code in said.replace(" ", ""), code, said)
    check("a breakpoint there leaves it as it is", d.ask("Z0,%x,1" % rip) == "OK" and d.ask("m%x,8" % rip) == code)
    check("a step is told", d.ask("z0,%x,1" % rip) == "OK" and d.ask("vCont;s:1").startswith("T05thread:1"))
    four = [d.ask("Z1,%x,1" % (rip + 64 + i)) for i in range(5)]
    check("four hardware breakpoints and no more", four == ["OK"] * 4 + ["E1c"], four)
    for i in range(4):
        d.ask("z1,%x,1" % (rip + 64 + i))
    watched = d.ask("Z2,%x,4" % (rip & ~7))
    tells = "watchpoints will be refused" not in m.text()
    check("watchpoints are as was said", watched == ("OK" if tells else "E1c"), watched)
    if not tells:
        print("SKIPPED watchpoints: this /dev/kvm does not tell of accesses to memory")
    d.ask("z2,%x,4" % (rip & ~7))
    d.send("c")
    d.s.sendall(b"\x03")
    check("it is interrupted", d.answer().startswith("T02"))
    d.send("k")
    check("and killed", m.ends() == 137)


if not shutil.which("gdb-multiarch"):
    print("SKIPPED gdb.py: no gdb-multiarch here: tools/deps --test")
else:
    try:
        m = stops(steps())
        interrupts(m)
    except (OSError, ValueError, subprocess.TimeoutExpired) as e:
        check("a debugger under KVM", False, repr(e))
        subprocess.run([LODGE, "stop", "--force", "debugged"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
