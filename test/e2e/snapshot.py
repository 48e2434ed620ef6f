"""Running guests saved to a file and gone on with in another process: what lives only in their memory
is there again, their CPUs, disks, network and time go on, whatever executes their instructions. A
guest that was booted anew would know neither nonce nor the count that a shell keeps."""
import hashlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading

from guest import LIMIT, LODGE, Guest, alive, boots, check, finish, give_up, part, refuses, tried, work

os.environ["LODGE_HOME"] = work + "/home"
CPU = {"riscv64": os.environ["GUEST_riscv64"], "amd64": os.environ["GUEST_amd64"]}
names, kept = 0, []


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
                return json.loads(data.splitlines()[-1])
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
    # A guest that is confined saves itself only among its own snapshots.
    inside = "%s/home/guests/%s/snapshots" % (work, g.name)
    os.makedirs(inside, exist_ok=True)
    answer = ask(g, "snapshot %s/.test" % inside)
    if answer == {}:
        os.rename(inside + "/.test", file)
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


class Kept(Guest):
    """At the console of one that runs in the background."""

    def __init__(self, name):
        self.args, self.text, self.at, self.marks, self.code, self.name = [], "", 0, 100, None, name
        self.p = subprocess.Popen([LODGE, "attach", name], stdin=subprocess.PIPE, bufsize=0,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        alive.append(self)


def lodge(*args):
    p = subprocess.run([LODGE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=LIMIT)
    return p.returncode, p.stdout


def works(what, *args):
    code, said = lodge(*args)
    check("%s: lodge %s: %d %s" % (what, " ".join(args), code, said), code == 0)
    return said


def with_disk(arch, bus, dev):
    """A file system under load; the verbs; the network."""
    what, image = "disk, " + arch, "%s/%s.img" % (work, arch)
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    kept.append("k-" + arch)
    works(what, "run", "-d", "--name", "k-" + arch, *options(arch, "--disk", image + ",if=" + bus, cpus=2))
    g = Kept("k-" + arch)
    g.expect("powers the machine off")
    g.run("true")
    g.run("mke2fs %s; mkdir -p /mnt; mount -t ext2 %s /mnt" % (dev, dev))
    nonce = nonce_of(g)
    g.run("(i=0; while :; do i=$((i+1)); echo $i > /mnt/f$((i % 8)); cat /mnt/f* | md5sum > /mnt/sum; sync; "
          "echo $i > /tmp/count; done) & true")
    g.run("(while :; do sleep 0.1; echo >> /tmp/times; done) & true")
    net = "wget -q -O - http://10.0.2.2:%d/ || echo none" % served()
    check(what + ": the network works", g.says(net, "^served$"), g)
    g.run("sleep 2")
    works(what, "snapshot", g.name, "one")
    check(what + ": it goes on", g.says("echo $nonce", nonce), g)
    works(what, "snapshot", g.name, "two")
    code, said = lodge("snapshot", g.name, "two")
    check(what + ": not the same tag again: " + said, code == 125 and "already" in said)
    check(what + ": a tree", works(what, "snapshot", "tree", g.name) == "one\n  two\n")
    check(what + ": a list", re.search(r"^one .*\ntwo .* one$", works(what, "snapshot", "ls", g.name), re.M))
    g.run("killall sleep; rm /mnt/f*; sync; nonce=gone; rm /tmp/nonce")
    for tag in "one", "two", "one":
        works(what, "restore", g.name, tag)
        give_up(g)
        g = Kept(g.name)
        g.type("")
        check(what + ": at its console", tried(lambda: g.run("true")[0] == 0), g)
        lives(what, g, nonce, 2)
        check(what + ": the network works again", g.says(net, "^served$"), g)
        check(what + ": the disk is as it was", g.says("sleep 1; ls /mnt | wc -l; dmesg | grep -ci 'ext.*error'", r"^10\n0$"), g)
    works(what, "snapshot", "rm", g.name, "two")
    state = "%s/home/guests/%s/snapshots/one/state" % (work, g.name)
    with open(state, "rb") as f:
        data = bytearray(f.read())
    for at in 3, 4096 + 77, len(data) - 9:
        data[at] ^= 4
        os.unlink(state)  # the guest goes on from that file
        with open(state, "wb") as f:
            f.write(data)
        data[at] ^= 4
        code, said = lodge("restore", g.name, "one")
        check(what + ": altered: " + said, code == 125 and re.search("altered|is none", said))
        check(what + ": nothing has changed", g.says("echo $nonce", nonce), g)
    code, said = lodge("restore", g.name, "two")
    check(what + ": it is gone: " + said, code == 125 and "no snapshot" in said)
    works(what, "kill", g.name)


def served():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"served\n")

        def log_message(self, *args):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def disk_riscv64():
    with_disk("riscv64", "virtio", "/dev/vda")


def disk_amd64():
    with_disk("amd64", "nvme", "/dev/nvme0n1")


def unflushed():
    """What the guest has written and never flushed is in a copy of an image that has tables, too."""
    what, image = "not flushed", work + "/tables.qcow2"
    works(what, "image", "create", "-f", "qcow2", image, "64M")
    kept.append("k-tables")
    works(what, "run", "-d", "--name", "k-tables", *options("amd64", "--disk", image + ",format=qcow2", cpus=1))
    g = Kept("k-tables")
    g.expect("powers the machine off")
    g.run("dd if=/dev/urandom of=/tmp/r bs=64k count=40; dd if=/tmp/r of=/dev/vda bs=64k oflag=direct")
    works(what, "snapshot", g.name, "one")
    g.run("dd if=/dev/zero of=/dev/vda bs=64k count=40 oflag=direct")
    works(what, "restore", g.name, "one")
    give_up(g)
    g = Kept(g.name)
    g.type("")
    check(what + ": at its console", tried(lambda: g.run("true")[0] == 0), g)
    check(what + ": it is there", g.says("dd if=/dev/vda bs=64k count=40 iflag=direct | cmp - /tmp/r && echo same", "^same$"), g)
    works(what, "kill", g.name)


def reads(what, g, content):
    """The guest's drive has that disc, whatever its kernel has read before."""
    has = "for i in $(seq 20); do blockdev --flushbufs /dev/sr0; md5sum < /dev/sr0 > /tmp/sum && break; sleep 0.3; done; cat /tmp/sum"
    return check(what, g.says(has, "^" + hashlib.md5(content).hexdigest()), g)


def again(what, g, *args):
    works(what, *args)
    give_up(g)
    g = Kept(args[1])
    g.type("")
    check(what + ": at its console", tried(lambda: g.run("true")[0] == 0), g)
    return g


def discs():
    """The disc of a CD drive is another one than the guest was started with, or the tray is open."""
    what, disc, content = "discs", lambda n: "%s/%s.iso" % (work, n), {}
    for n, size in ("a", 1), ("b", 2), ("c", 2):
        content[n] = os.urandom(size << 20)
        with open(disc(n), "wb") as f:
            f.write(content[n])
    kept.append("k-discs")
    works(what, "run", "-d", "--name", "k-discs", *options("riscv64", "--cdrom", disc("a")))
    g = Kept("k-discs")
    g.expect("powers the machine off")
    g.run("modprobe -a ahci sr_mod; for i in $(seq 50); do [ -e /dev/sr0 ] || sleep .2; done")
    nonce = nonce_of(g)
    reads(what + ": it has the first", g, content["a"])
    works(what, "media", g.name, "insert", disc("b"))
    reads(what + ": and the second", g, content["b"])
    works(what, "snapshot", g.name, "second")
    works(what, "media", g.name, "eject")
    works(what, "snapshot", g.name, "open")
    works(what, "media", g.name, "insert", disc("c"))
    reads(what + ": and the third", g, content["c"])
    g = again(what, g, "restore", g.name, "second")
    keeps(what, g, nonce)
    reads(what + ": restored, the second", g, content["b"])
    works(what, "snapshot", g.name, "same")
    works(what, "media", g.name, "insert", disc("a"))
    reads(what + ": the first again", g, content["a"])
    g = again(what, g, "restore", g.name, "open")
    check(what + ": restored, the tray is open", g.says("head -c 1 /dev/sr0 | wc -c", "[Nn]o medium|^0$"), g)
    works(what, "media", g.name, "insert", disc("c"))
    reads(what + ": and can be closed", g, content["c"])
    g = again(what, g, "restore", g.name, "same")
    reads(what + ": saved once more, the second", g, content["b"])
    os.rename(disc("b"), disc("d"))
    code, said = lodge("restore", g.name, "second")
    check(what + ": it is not there: " + said, code == 125 and "CD drive 1 is not there: " + disc("b") in said)
    keeps(what + ": it runs on", g, nonce)
    with open(disc("b"), "wb") as f:
        f.write(content["c"])
    code, said = lodge("restore", g.name, "second")
    check(what + ": another is there: " + said, code == 125 and "CD drive 1: %s is not the disc" % disc("b") in said)
    os.rename(disc("d"), disc("b"))
    kept.append("k-clone")
    works(what, "clone", "--tag", "second", g.name, "k-clone")
    g = again(what, g, "restore", "k-clone", "second")
    keeps(what + ", cloned", g, nonce)
    reads(what + ": cloned, the second", g, content["b"])
    move = "move", g.name, "--to-store", work + "/there"
    works(what, *move)
    give_up(g)
    os.environ["LODGE_HOME"] = work + "/there"
    try:
        g = Kept("k-clone")
        g.type("")
        keeps(what + ", moved", g, nonce)
        reads(what + ": moved, the second", g, content["b"])
        works(what, "kill", g.name)
    finally:
        os.environ["LODGE_HOME"] = work + "/home"
    works(what, "start", "k-discs")
    g = Kept("k-discs")
    g.type("")
    g.run("modprobe -a ahci sr_mod; for i in $(seq 50); do [ -e /dev/sr0 ] || sleep .2; done")
    reads(what + ": started anew, the first", g, content["a"])
    works(what, "snapshot", "rm", g.name, "open")
    check(what + ": nothing is left of what is gone", sorted(os.listdir(work + "/home/guests/k-discs/discs")) == ["same", "second"])


def another_machine():
    """What a snapshot is not of."""
    file = work + "/other"
    g = named(*options("riscv64"), what="another")
    if not g or not saved("another", g, file):
        return
    g.kill()
    refuses("another size", "512.*MiB of memory|MiB of memory: 512", "--restore", file, *options("riscv64", "--memory", "256M"))
    refuses("more CPUs", "CPUs: 1", "--restore", file, *options("riscv64", cpus=2))
    refuses("another CPU", "another kind of CPU", "--restore", file, *options("amd64"))
    refuses("no network", "network cards: 1", "--restore", file, *options("riscv64", "--net", "none"))
    refuses("nowhere", "No such file", "--restore", file + "x", *options("riscv64"))
    refuses("no time for it", "time is not counted", "--restore", file, "--deterministic", "--net", "none", *options("riscv64"))


def counted(arch):
    """Whose time is instructions: it goes on at the same instruction, whatever executes it."""
    what, file, args = "counted, " + arch, "%s/counted-%s" % (work, arch), [*options(arch, "--net", "none"), "--deterministic"]
    g = named(*args, what=what)
    if not g:
        return
    nonce = nonce_of(g)
    up = uptime(g)
    saved(what, g, file)
    check(what + ": it goes on itself", g.says("echo $nonce", nonce), g)
    g.kill()
    for engine in "jit", "interp":
        h = restored("%s, to %s" % (what, engine), file, *args, "--engine", engine)
        if not h:
            return
        keeps(what, h, nonce)
        check(what + ": time goes on from there", 0 <= uptime(h) - up < LIMIT, h)
        check(what + ": and timers", h.says("sleep 1; echo awake", "^awake$"), h)
        h.kill()
    refuses(what + ": not into another time", "time is counted", "--restore", file, *options(arch, "--net", "none"))


def counted_riscv64():
    counted("riscv64")


def counted_amd64():
    counted("amd64")


if __name__ == "__main__":
    parts = [riscv64, riscv64_2, amd64, amd64_2, disk_riscv64, disk_amd64, unflushed, discs, another_machine]
    for fn in parts + [counted_riscv64, counted_amd64] * bool(sys.argv[1:] or os.environ.get("LONG")):
        if not sys.argv[1:] or fn.__name__ in sys.argv[1:]:
            part(fn)
    for name in kept:
        lodge("kill", name)
    finish()
