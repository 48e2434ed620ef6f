"""The kernel's own self-tests, and stress-ng, in the built-in guest: the same kernel, initrd and
programs under Lodge and under QEMU. What QEMU passes Lodge must pass; what neither passes is only
noted. A program that differs is tried again by itself, as timing and who shares the host decide some;
then by QEMU, as some lose races there as well. A machine that dies in a program has failed it, and
another goes on with the next."""
import os
import re
import select
import subprocess
import sys
import time

from guest import LODGE, check, finish, part, work

os.environ["LODGE_HOME"] = work + "/home"
image, made = os.environ["GUEST"], os.environ["KSELFTEST"]
CPUS, MEMORY, RETRIES, SILENCE = "2", "768M", 2, 300
STRESS, DIED = "stress-ng/", "the machine died"
PARTS = re.compile(r"^(?:# )*(ok|not ok) +(\d+)(.*)$")
QEMU = ["qemu-system-riscv64", "-M", "virt", "-cpu", "rv64,v=true,vlen=128", "-nic", "none", "-nographic"]


def initrd():
    """The guest's, and behind it the self-tests; an archive begins at a multiple of four."""
    name = os.path.join(work, "initrd")
    with open(name, "wb") as f:
        for part_of_it in image + "/initrd", made + "/archive":
            with open(part_of_it, "rb") as from_:
                f.write(from_.read())
            f.write(bytes(-f.tell() % 4))
    return name


def machine(peer, command):
    append = 'console=ttyS0 quiet panic=-1 "lodge.run=%s"' % command
    rest = ["-kernel", image + "/kernel", "-initrd", INITRD, "-append", append, "-m", MEMORY]
    if peer == "qemu":
        return QEMU + ["-no-reboot", "-smp", CPUS] + rest
    return [LODGE, "run", "--kernel", rest[1], "--initrd", INITRD, "--append", append, "--memory", MEMORY,
            "--cpus", CPUS, "--net", "none"]


def lines(peer, command):
    """What a machine says, a line at a time, until it ends or is silent for too long."""
    p = subprocess.Popen(machine(peer, command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, bufsize=0)
    rest = b""
    try:
        while select.select([p.stdout], [], [], SILENCE)[0]:
            data = os.read(p.stdout.fileno(), 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace").rstrip("\r")
    finally:
        p.kill()
        p.wait()


class Result:
    """How a program ended, what it said of its parts, and its last words if it failed."""

    def __init__(self):
        self.status, self.parts, self.said, self.began, self.took = DIED, {}, [], time.monotonic(), 0

    def good(self):
        return self.status == 0 and "not ok" not in self.parts.values()

    def end(self, status):
        self.status, self.took = status, time.monotonic() - self.began


def session(peer, names):
    results, todo, barren = {}, list(names), 0
    while todo and barren < 3:
        name, first = None, len(todo)
        # a command line has no room for all names
        command = "sh /kselftest/session %d %d" % (ALL.index(todo[0]) + 1, ALL.index(todo[-1]) + 1)
        other = []
        for line in lines(peer, command):
            if line.startswith("@begin "):
                name = line[7:]
                results[name] = Result()
            elif line.startswith("@end ") and name:
                results[name].end(int(line.split()[2]))
                name = None
            elif line == "@done":
                todo = []
            elif name and (found := PARTS.match(line)):
                result, number, words = found.groups()
                if re.search(r"#\s*(SKIP|XFAIL)", words, re.I):
                    result = "skip"
                results[name].parts[int(number)] = result
                if result == "not ok":
                    results[name].said.append(line)
            elif name:
                results[name].said.append(line)
            else:
                other = (other + [line])[-5:]
        todo = [n for n in todo if n not in results]
        barren = barren + 1 if len(todo) == first else 0
    if barren:
        print("    %s does not get to its programs:\n%s" % (peer, "\n".join("    | " + l for l in other)))
    return results


def worse(name, ours, theirs):
    """What QEMU passed and Lodge did not, in words, or nothing. A stressor passes, whatever QEMU says, but
    for those that are not for this machine (3, 4)."""
    if not ours:
        return "was not run"
    if ours.status != 0 and (theirs.status == 0 or name.startswith(STRESS) and theirs.status not in (3, 4)):
        return "exit status %s" % ours.status
    if len(ours.parts) > len(theirs.parts):  # numbered otherwise: one more size of huge pages, say
        count = lambda r: (list(r.parts.values()).count("ok"), -list(r.parts.values()).count("not ok"))
        return "" if all(a >= b for a, b in zip(count(ours), count(theirs))) else "parts (ok, not ok) %s, not %s" % (count(ours), count(theirs))
    bad = [n for n, r in theirs.parts.items() if r == "ok" and ours.parts.get(n) != "ok"]
    return "parts %s" % ["%d: %s" % (n, ours.parts.get(n, "missing")) for n in bad] if bad else ""


def compare():
    wanted = [n for n in ALL if len(sys.argv) < 2 or any(a in n for a in sys.argv[1:])]
    runs = []
    while wanted:  # stretches of the list
        first = ALL.index(wanted[0])
        end = next((i for i, name in enumerate(wanted) if name != ALL[first + i]), len(wanted))
        runs, wanted = runs + [wanted[:end]], wanted[end:]
    lodge, qemu = {}, {}
    for names in runs:
        began = time.monotonic()
        lodge.update(session("lodge", names))
        between = time.monotonic()
        qemu.update(session("qemu", names))
        print("    %d programs: Lodge %d s, QEMU %d s" % (len(names), between - began, time.monotonic() - between), flush=True)
    parts = 0
    for name in [n for names in runs for n in names]:
        theirs, ours = qemu.get(name), lodge.get(name)
        if not theirs:
            check("%s: not run by QEMU" % name, False)
            continue
        why, tries = worse(name, ours, theirs), 0
        while why and tries < RETRIES:
            tries += 1
            print("    %s: again, because of %s" % (name, why), flush=True)
            ours = session("lodge", [name]).get(name)
            why = worse(name, ours, theirs)
        tries = 0
        while why and ours and tries < 2 * RETRIES:
            tries += 1
            again = session("qemu", [name]).get(name)
            if again and again.status != DIED and not worse(name, ours, again):
                print("    %s: QEMU fails it as well, at times: %s" % (name, why), flush=True)
                theirs, why = again, ""
        check("%s: QEMU passes, Lodge does not: %s" % (name, why), not why)
        if why:
            print("\n".join("    | " + l for l in (ours.said if ours else [])[-20:]), flush=True)
        elif 4 in (theirs.status, ours.status):
            print("    %s: skipped by itself (Lodge %s, QEMU %s)" % (name, ours.status, theirs.status))
        elif not ours.good():
            print("    %s: fails in both (Lodge %s, QEMU %s)" % (name, ours.status, theirs.status))
        elif not theirs.good():
            print("    %s: fails in QEMU only (%s)" % (name, theirs.status))
        if not why:
            parts += sum(r == "ok" for r in ours.parts.values())
    print("    %d parts of them are ok under Lodge" % parts)


with open(made + "/list") as f:
    ALL = [line.split()[0] for line in f]
with open(made + "/notes") as f:
    for line in f:
        print("    not built: " + line.rstrip()[:160])
INITRD = initrd()
part(compare)
finish()
