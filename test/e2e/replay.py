"""Guests that are recorded with input, traffic and writes to a disk, and run again: the same states,
the same words. And what is not the recording, or not its files any more, is refused."""
import os
import re
import subprocess
import sys
import urllib.request

from built_in import sha
from guest import LODGE, Guest, boots, check, ends, finish, free_port, part, refuses, work

os.environ["LODGE_HOME"] = work + "/home"
os.environ["LODGE_STATES"] = "50000000" if os.environ.get("LONG") else "300000000"
IMAGE = {a: os.environ["GUEST_" + a] for a in ("riscv64", "amd64")}


def options(arch, append="console=ttyS0 quiet"):
    image = IMAGE[arch]
    return ["--arch", arch, "--kernel", image + "/kernel", "--initrd", image + "/initrd", "-m", "256M",
            "--append", append]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def spoken(text):
    """What the guest said, without what Lodge says of it."""
    return re.sub(r"lodge: [^\n]*\n", "", text)


def fetch(port):
    with urllib.request.urlopen("http://127.0.0.1:%d/f" % port, timeout=60) as f:
        return f.read()


def recorded(arch):
    """A recording of all that there is; its path, its disk, what was said."""
    tape, disk, port = work + "/tape-" + arch, work + "/disk-" + arch, free_port()
    write(disk, bytes(8 << 20))
    g = boots(arch, *options(arch), "--record", tape, "--disk", disk, "-p", "%d:80" % port)
    if not g:
        return None
    g.run("for i in $(seq 60); do ip route | grep -q default && break; sleep 1; done")
    g.run("mkdir -p /srv; head -c 300000 /dev/urandom > /srv/f; httpd -p 80 -h /srv")
    want = re.search("[0-9a-f]{64}", g.run("sha256sum /srv/f")[1]).group()
    check(arch + ": a published port answers while it is recorded", sha(fetch(port)) == want, g)
    check(arch + ": it writes to its disk",
          g.run("seq 1 20000 | dd of=/dev/vda bs=4k conv=fsync; mke2fs -q /dev/vda")[0] == 0, g)
    g.run("sha256sum /dev/vda; head -c 8 /dev/hwrng | od -x; date; cat /proc/interrupts")
    g.type("exit")
    ends(arch + ": recorded", g)
    check(arch + ": says that it was recorded", "lodge: recorded: " in g.text, g)
    check(arch + ": its disk is as it was", read(disk) == bytes(8 << 20))
    return tape, disk, spoken(g.text)


def replay(name, tape, said, *args, code=0):
    p = subprocess.run([LODGE, "run", "--replay", tape, *args], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    text = p.stdout.decode("utf-8", "replace").replace("\r", "").replace("\0", "")
    check("%s: replays (%d, %r)" % (name, p.returncode, text[-200:]),
          p.returncode == code and "replayed to its end" in text and "all of them equal" in text)
    check(name + ": says the same", spoken(text) == said)


def altered(tape, disk, arch):
    data = bytearray(read(tape))
    bad = work + "/altered"
    for at in (3, 20, len(data) // 3, len(data) // 2, len(data) - 30, len(data) - 1):
        data[at] ^= 16
        write(bad, data)
        refuses("altered at %d" % at, "altered|not a recording", "--replay", bad)
        data[at] ^= 16
    write(bad, data[:len(data) // 2])
    refuses("cut", "without its end|altered", "--replay", bad)
    write(bad, b"")
    refuses("empty", "not a recording", "--replay", bad)
    with open(disk, "r+b") as f:
        f.seek(5 << 20)
        f.write(b"x")
    refuses("another disk", "changed since", "--replay", tape)
    os.unlink(disk)
    refuses("no disk", "not there any more", "--replay", tape)
    write(disk, bytes(8 << 20))


def whole(arch):
    made = recorded(arch)
    if not made:
        return
    tape, disk, said = made
    replay(arch, tape, said)
    if arch == "riscv64":
        altered(tape, disk, arch)
    if os.environ.get("LONG"):
        replay(arch + ", interpreted", tape, said, "--engine", "interp")
        replay(arch + ", without windows, hot at once", tape, said, "--engine", "jit", "--code-cache", "2M")


def riscv64():
    whole("riscv64")


def amd64():
    whole("amd64")


def stopped():
    """Whoever ends it from outside has a recording up to there."""
    tape = work + "/tape-stopped"
    g = boots("stopped", *options("riscv64"), "--record", tape)
    if not g:
        return
    g.type("echo one; sleep 1000")
    g.expect("^one")
    g.kill(15)
    ends("stopped", g, 143)
    replay("stopped", tape, spoken(g.text), code=143)


def again():
    """Two recordings differ in what is random; a reboot is part of one."""
    said = []
    for i in range(2):
        tape = work + "/tape-again"
        g = boots("again", *options("riscv64"), "--net", "none", "--record", tape)
        if not g:
            return
        said.append(g.run("head -c 8 /dev/hwrng | od -x")[1])
        if i:
            g.type("reboot -f")
            check("again: reboots", g.shell(), g)
        g.type("exit")
        ends("again", g)
    check("again: other numbers", said[0] != said[1])
    replay("again", tape, spoken(g.text))


def debugged():
    """Under gdb, stopped in the middle and gone on a step at a time, it goes on as it went."""
    for arch in "riscv64", "amd64":
        tape, at = work + "/tape-gdb", work + "/gdb.sock"
        g = Guest(*options(arch, 'console=ttyS0 quiet nokaslr lodge.run="seq 1 300 | sha256sum"'), "--record", tape)
        g.end()
        p = subprocess.Popen([LODGE, "run", "--replay", tape, "--gdb", "unix:" + at, "--gdb-wait"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        words = ["target remote " + at, "stepi 3000", "info registers", "hbreak *$pc", "delete", "continue"]
        gdb = ["gdb-multiarch", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set remotetimeout 60"]
        while not os.path.exists(at) and p.poll() is None:
            pass
        subprocess.run(gdb + [x for w in words for x in ("-ex", w)], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        text = p.communicate(timeout=600)[0].decode("utf-8", "replace").replace("\r", "").replace("\0", "")
        check("debugged, %s: replays (%r)" % (arch, text[-200:]), p.returncode == 0 and "all of them equal" in text)
        check("debugged, %s: says the same" % arch, spoken(text) == spoken(g.text))


if __name__ == "__main__":
    parts = [riscv64, amd64] + ([again, stopped, debugged] if os.environ.get("LONG") else [])
    for fn in parts if not sys.argv[1:] else [globals()[n] for n in sys.argv[1:]]:
        part(fn)
    finish()
