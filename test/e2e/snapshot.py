"""Running guests saved to a file and gone on with in another process: what lives only in their memory
is there again, their CPUs, disks, network and time go on, whatever executes their instructions. A
guest that was booted anew would know neither nonce nor the count that a shell keeps."""
import json
import os
import re
import socket
import sys
import time

from guest import LIMIT, Guest, boots, check, ends, finish, part, refuses, tried, work

os.environ["LODGE_HOME"] = work + "/home"
CPU = {"riscv64": os.environ["GUEST_riscv64"], "amd64": os.environ["GUEST_amd64"]}
names = 0


def options(arch, *more, cpus=1):
    folder = CPU[arch]
    return ["--arch", arch, "--kernel", folder + "/kernel", "--initrd", folder + "/initrd", "--memory", "512M",
            "--cpus", str(cpus), "--append", "console=ttyS0 quiet", *more]


def ask(g, request):
    """What its monitor answers."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect("%s/home/run/%s" % (work, g.name))
        s.sendall(request.encode() + b"\n")
        data = b""
        while True:
            more = s.recv(65536)
            if not more:
                return json.loads(data)
            data += more


def named(*args, what):
    global names
    names += 1
    g = boots(what, "--name", "g%d" % names, *args)
    if g:
        g.name = "g%d" % names
    return g


def restored(what, file, *args):
    """A guest that goes on from a file, at the prompt that it had."""
    global names
    names += 1
    g = Guest("--name", "g%d" % names, "--restore", file, *args)
    g.name = "g%d" % names
    return g if check(what + ": goes on", tried(lambda: g.run("true")[0] == 0), g) else None


def saved(what, g, file):
    answer = ask(g, "save " + file)
    return check("%s: saved: %s" % (what, answer), answer == {})


NONCE = "nonce=$(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \\n'); echo $nonce > /tmp/nonce; echo is $nonce"


def nonce_of(g):
    return re.search(r"is ([0-9a-f]{16})", g.run(NONCE)[1]).group(1)


def keeps(what, g, nonce):
    check(what + ": the nonce is there", g.says("echo $nonce; cat /tmp/nonce", r"^%s\n%s$" % (nonce, nonce)), g)


def lives(what, h, nonce, cpus):
    keeps(what, h, nonce)
    count = [int(h.run("c=; while [ -z \"$c\" ]; do c=$(cat /tmp/count); done; echo $c; sleep 1")[1]) for _ in range(3)]
    check(what + ": what ran runs: %s" % count, count[0] < count[1] < count[2], h)
    check(what + ": and what slept wakes up", h.says("a=$(wc -l < /tmp/times); sleep 2; b=$(wc -l < /tmp/times); "
          "echo $((b - a > 2))", "^1$"), h)
    check(what + ": all CPUs are there", h.says("grep -c ^processor /proc/cpuinfo", "^%d$" % cpus), h)
    check(what + ": and work", h.says("(for i in 0 1 2 3; do (echo $((6*7))) & done; wait)", r"(42\n){4}"), h)
    check(what + ": nothing in the log", not h.says("dmesg | tail -5", "(?i)stall|lockup|bug|oops|clocksource"), h)


def uptime(g):
    return float(g.run("cat /proc/uptime")[1].split()[0])


def both(arch, cpus):
    """Saved under the translator, gone on with under the interpreter, saved there and so back; and once more
    from the first file."""
    what = "%s, %d cpus" % (arch, cpus)
    args = options(arch, cpus=cpus)
    files = ["%s/%s-%d-%s" % (work, arch, cpus, x) for x in "ab"]
    g = named(*args, "--engine", "jit", what=what)
    if not g:
        return
    nonce = nonce_of(g)
    g.run("(i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done) & true")
    g.run("(while :; do sleep 0.1; echo >> /tmp/times; done) & true")
    up = uptime(g)
    saved(what, g, files[0])
    check(what + ": it goes on itself", g.says("echo $nonce", nonce), g)
    g.kill()
    for file, engine, then in (files[0], "interp", files[1]), (files[1], "jit", None), (files[0], "jit", None):
        h = restored("%s, to %s" % (what, engine), file, *args, "--engine", engine)
        if not h:
            return
        check(what + ": time goes on from there", 0 <= uptime(h) - up < LIMIT, h)
        lives("%s, to %s" % (what, engine), h, nonce, cpus)
        if then:
            saved(what, h, then)
        h.kill()


def riscv64():
    both("riscv64", 1)


def riscv64_2():
    both("riscv64", 2)


def amd64():
    both("amd64", 1)


def amd64_2():
    both("amd64", 2)


if __name__ == "__main__":
    for fn in riscv64, riscv64_2, amd64, amd64_2:
        if not sys.argv[1:] or fn.__name__ in sys.argv[1:]:
            part(fn)
    finish()
