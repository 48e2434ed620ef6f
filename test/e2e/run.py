"""The built-in guest end to end: it boots, computes, networks, keeps a disk, powers off; and what
cannot work is refused in one sentence with exit code 125 and leaves nothing behind."""
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from built_in import computes, lines, sha
from guest import LIMIT, LODGE, TOP, Guest, Listener, boots, check, ends, finish, free_port, part, refuses, tried, work

os.environ["LODGE_HOME"] = work + "/home"
image, DEFAULT = os.environ["GUEST"], os.environ.get("LODGE_CACHE", "") + "/made/linux-riscv64"
kernel, initrd = image + "/kernel", image + "/initrd"
BASE = ["--kernel", kernel, "--initrd", initrd, "--memory", "512M"]
BOOT = BASE + ["--append", "console=ttyS0 quiet"]


def path(name, data=None):
    p = os.path.join(work, name)
    if data is not None:
        with open(p, "wb") as f:
            f.write(data)
    return p


def read(name):
    with open(name, "rb") as f:
        return f.read()


def one_cpu():
    computes("1 cpu", 1, "riscv64", *BOOT)


def two_cpus():
    computes("2 cpus", 2, "riscv64", *BOOT)


def run_and_power_off():
    g = Guest(*BASE, "--net", "none", "--append", 'console=ttyS0 quiet lodge.run="echo 6*7=$((6*7))"')
    g.expect(r"^6\*7=42")
    ends("a command as parameter", g)


def cross_compiled(name, *flags):
    """A static riscv64 program from name.c, compiled by clang for what gcc 12 does not know."""
    out = os.path.join(work, name)
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".c")
    subprocess.run(["clang", "--target=riscv64-linux-gnu", "-mabi=lp64d", "-O3", "-ffp-contract=off",
                    "-isystem", "/usr/riscv64-linux-gnu/include", *flags, "-c", source, "-o", out + ".o"], check=True)
    subprocess.run(["riscv64-linux-gnu-gcc", "-static", "-o", out, out + ".o"], check=True)
    return out


def with_files(*names):
    """The guest's initrd and behind it an archive of these, for its root; each begins at a multiple of four."""
    whole = read(initrd)
    whole += bytes(-len(whole) % 4)
    files = "\n".join(os.path.basename(n) for n in names).encode()
    return path("initrd.more", whole + subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=files, cwd=work, check=True, stdout=subprocess.PIPE).stdout)


def vectors():
    program = cross_compiled("vector", "-march=rv64gcv", "-mllvm", "-riscv-v-vector-bits-min=128")
    said = subprocess.run(["qemu-riscv64", "-cpu", "rv64,v=true,vlen=128", program, "4"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    check("vectors: qemu agrees with itself", said.count("\n") == 14 and "each by itself" in said)
    more = with_files(program)
    for cpus in "1", "2":
        g = boots("vectors", "--kernel", kernel, "--initrd", more, "--memory", "512M", "--net", "none", "--cpus", cpus,
                  "--append", "console=ttyS0 quiet")
        if not g:
            return
        check("vectors: Linux knows of them", g.says("cat /proc/cpuinfo", r"^isa\s*: rv64imafdcv_.*_zvbb"), g)
        check("vectors: as under qemu", g.run("/vector 4")[1] == said, g)
        g.type("exit")
        ends("vectors", g)


def fetch(port):
    for _ in range(20):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/f" % port, timeout=60) as r:
                return sha(r.read())
        except OSError:
            time.sleep(1)


def network():
    listener, port = Listener(), free_port()
    g = boots("net", *BOOT, "--cpus", "2", "--publish", "127.0.0.1:%d:8080" % port)
    if not g:
        return
    wait = "for i in $(seq 60); do ip route | grep -q default && break; sleep 1; done; ip route"
    check("net: gets an address", g.says(wait, "^default via"), g)
    g.run("seq 1 300000 > /tmp/n")
    check("net: this machine answers",
          g.says("(cat /tmp/n; echo that is all; sleep 1) | nc 10.0.2.2 %d" % listener.port, "^hello guest"), g)
    listener.join(60)
    check("net: this machine hears it whole", listener.heard == lines(300000) + b"that is all\n", g)
    g.run("mkdir -p /srv; head -c 500000 /dev/urandom > /srv/f; httpd -p 8080 -h /srv")
    want = re.search("[0-9a-f]{64}", g.run("sha256sum /srv/f")[1]).group()
    check("net: the forward brings it back whole", fetch(port) == want, g)
    refuses("net: a port that is taken", "%d" % port, *BOOT, "--publish", "127.0.0.1:%d:8080" % port)
    g.type("exit")
    ends("net", g)


def disk():
    d = path("disk", b"")
    os.truncate(d, 64 << 20)
    g = boots("disk", *BOOT, "--net", "none", "--disk", d)
    if not g:
        return
    check("disk: has its size", g.says("cat /sys/block/vda/size", "^131072$"), g)
    check("disk: makes a file system", g.run("mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt")[0] == 0, g)
    check("disk: writes", g.says("seq 1 200000 > /mnt/f; sync; sha256sum /mnt/f", sha(lines(200000))), g)
    refuses("disk: another guest has it", "disk", *BOOT, "--disk", d)
    g.type("umount /mnt; exit")
    ends("disk", g)

    g = boots("read-only disk", *BOOT, "--net", "none", "--disk", d + ",ro")
    if not g:
        return
    check("read-only disk: reads what was written",
          g.says("mount -o ro -t ext4 /dev/vda /mnt; sha256sum /mnt/f", sha(lines(200000))), g)
    check("read-only disk: refuses to write", g.run("dd if=/dev/zero of=/dev/vda count=1 conv=fsync")[0] != 0, g)
    other = boots("read-only disk, twice", *BOOT, "--net", "none", "--disk", d + ",ro")
    if other:
        other.type("exit")
        ends("read-only disk, twice", other)
    g.kill()
    ends("killed", g, -signal.SIGKILL)

    g = boots("after a kill", *BOOT, "--net", "none", "--disk", d)
    if not g:
        return
    g.type("reboot -f")
    check("reboot: reaches a shell", tried(g.shell), g)
    g.type("poweroff")
    ends("poweroff", g)


def formats():
    """Disks that are no raw files: a guest makes a file system on each, another finds it."""
    behind = path("behind", b"")
    os.truncate(behind, 64 << 20)
    image = lambda *a: subprocess.run([LODGE, "image", *a]).returncode == 0
    for name, made, words in (("qcow2", ("-f", "qcow2"), ",format=qcow2"), ("vmdk", ("-f", "vmdk"), ",format=vmdk"),
                              ("layer", ("-f", "qcow2", "-b", behind, "-F", "raw"), ",format=qcow2,backing")):
        d = path("disk." + name)
        check(name + ": made", image("create", *made, d, "64M"))
        refuses(name + ": its format is not guessed", "looks like", *BOOT, "--disk", d)
        g = boots(name, *BOOT, "--net", "none", "--disk", d + words)
        if not g:
            continue
        check(name + ": makes a file system", g.run("mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt")[0] == 0, g)
        check(name + ": writes", g.says("seq 1 200000 > /mnt/f; sync; sha256sum /mnt/f", sha(lines(200000))), g)
        g.kill()
        ends(name + ": killed", g, -signal.SIGKILL)
        if name != "vmdk":
            check(name + ": killed, it is sound", subprocess.run(["qemu-img", "check", "-q", d]).returncode in (0, 3))
        g = boots(name + " again", *BOOT, "--net", "none", "--disk", d + words)
        if not g:
            continue
        check(name + " again: nothing is lost",
              g.says("mount -t ext4 /dev/vda /mnt; sha256sum /mnt/f", sha(lines(200000))), g)
        g.type("umount /mnt; exit")
        ends(name + " again", g)
    check("layer: what is behind is untouched", not any(read(behind)))


def stopped():
    g = boots("stopped", *BOOT, "--net", "none")
    if g:
        g.kill(signal.SIGTERM)
        check("stopped: by SIGTERM within its limit", tried(g.end) is not False, g)


def firmware(name, version, file):
    g = Guest(*BOOT, "--net", "none", "--cpus", "2", "--firmware", file)
    check(name + ": says its version", bool(tried(g.expect, "OpenSBI v" + re.escape(version))), g)
    if check(name + ": boots the same kernel", tried(g.shell), g):
        check(name + ": has both cpus", g.says("nproc", "^2$"), g)
        g.type("exit")
        ends(name, g)


def opensbi_old():
    firmware("OpenSBI 1.1", "1.1", "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")


def opensbi_new():
    to = path("opensbi")
    subprocess.run([TOP + "/guests/fetch", "opensbi", "riscv64", to], check=True)
    firmware("OpenSBI 1.6", "1.6", to + "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")


def u_boot():
    g = Guest("--firmware", "/usr/lib/u-boot/qemu-riscv64/u-boot.bin", "--memory", "512M", "--net", "none")
    check("U-Boot: counts down", bool(tried(g.expect, "Hit any key")), g)
    g.type("")
    check("U-Boot: prompt", bool(tried(g.expect, "^=> ")), g)
    g.type("version")
    check("U-Boot: obeys", bool(tried(g.expect, r"^U-Boot \d{4}\.\d\d")), g)


def lodge(*args):
    return subprocess.run([LODGE, *args], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL)


def figures(*names):
    r = lodge("stats", "--format", "json", *names)
    check("stats: succeeds: " + r.stderr, r.returncode == 0 and not r.stderr)
    return {g["name"]: g for g in json.loads(r.stdout)}


def stats():
    """Two guests, one busy: figures grow, are told apart, and name who has been killed no more."""
    a = boots("stats a", *BOOT, "--net", "none", "--cpus", "2", "--name", "busy", "--stats")
    b = boots("stats b", *BOOT, "--net", "none", "--engine", "interp")
    if not a or not b:
        return
    a.type("while true; do :; done & busy''=yes")
    before = figures()
    check("stats: both are there", sorted(before) == ["busy", "unnamed-1"])
    check("stats: by process", [before[n]["pid"] for n in sorted(before)] == [a.p.pid, b.p.pid])
    after = figures("busy")["busy"]
    was, now = before["busy"]["counters"], after["counters"]
    for name in ("instructions", "unit_entries", "interrupts", "exits_poll"):
        check("stats: %s grow from %d to %d" % (name, was[name], now[name]), 0 < was[name] < now[name])
    check("stats: units of code", 0 < was["units"] <= now["units"] and 0 < now["code_used"] < now["code_room"])
    check("stats: exits add up", abs(sum(v for k, v in now.items() if k.startswith("exits_")) - now["unit_entries"]) < 100)
    check("stats: an interpreter has no units", "units" not in before["unnamed-1"]["counters"])
    # Others compute here, too; one that waits uses less than 1 %.
    check("stats: it is busy (%.1f %%)" % after["cpu_percent"], after["cpu_percent"] > 5)
    check("stats: memory", 64 << 20 < after["memory_usage"] < 2 << 30 and after["memory_limit"] == 512 << 20)
    check("stats: a table", bool(re.search(r"^busy +%d " % a.p.pid, lodge("stats").stdout, re.M)))
    b.kill()
    ends("stats: killed", b, -signal.SIGKILL)
    check("stats: who was killed is gone", list(figures()) == ["busy"])
    a.type("poweroff")
    ends("stats", a)
    check("stats: at the end", bool(re.search(r"lodge: busy ran for .*\n.*instructions +\d+", a.text)), a)
    check("stats: nobody is left", figures() == {} and os.listdir(work + "/home/run") == [])


def code_cache():
    """All of Linux through a code cache that it does not fit into, and what perf is told of it."""
    g = boots("code cache", *BOOT, "--net", "none", "--engine", "jit", "--code-cache", "1M", "--stats", "--profile")
    if g:
        check("code cache: computes", g.says("seq 1 10000 | sha256sum", sha(lines(10000))), g)
        g.type("exit")
        ends("code cache", g)
        with open("/tmp/perf-%d.map" % g.p.pid) as f:
            told = [l.split() for l in f]
        os.unlink("/tmp/perf-%d.map" % g.p.pid)
        check("profile: only of code that is there", 0 < sum(int(l[1], 16) for l in told) < 1 << 20)
        check("code cache: was full", int(re.search(r"code_flushes +(\d+)", g.text).group(1)) > 2, g)
        used, room = (int(re.search(n + r" +(\d+)", g.text).group(1)) for n in ("code_used", "code_room"))
        check("code cache: never more than it may have", used < room + 65536 and room == 1 << 20, g)


def profile():
    """What perf is told, by the kernel's own names."""
    g = boots("profile", *BOOT, "--net", "none", "--engine", "jit", "--profile")
    if g:
        g.type("exit")
        ends("profile", g)
        with open("/tmp/perf-%d.map" % g.p.pid) as f:
            names = {l.split()[2].split("+")[0] for l in f}
        os.unlink("/tmp/perf-%d.map" % g.p.pid)
        check("profile: the kernel's names", len([n for n in names if not re.match("(guest|user)_0x", n)]) > 50)


DISK = lines(500000)[:3 << 20]
SCRIPT = b"""seq 1 2000 | sha256sum
head -c 16 /dev/urandom | od -x; cat /proc/sys/kernel/random/uuid
date; sleep 1; cat /proc/uptime
dd if=/dev/vda bs=64k 2> /dev/null | sha256sum
dd if=/dev/zero of=/dev/vda bs=4k count=500 conv=fsync 2> /dev/null; cat /proc/interrupts
exit
"""


def deterministic():
    """The same input, the same output, at the same times, by the same number of instructions."""
    runs = []
    for engine in ("jit", "jit", "interp"):
        image, script = path("repeated", DISK), path("script", SCRIPT)
        with open(script) as f:
            r = subprocess.run([LODGE, "run", *BASE, "--append", "console=ttyS0", "--deterministic", "--stats",
                                "--engine", engine, "--disk", image], stdin=f, capture_output=True, timeout=LIMIT)
        count = re.search(rb"instructions +(\d+)", r.stderr)
        runs.append((r.returncode, r.stdout, count and count.group(1)))
    check("deterministic: it ran", runs[0][0] == 0 and b"reboot: Power down" in runs[0][1] and runs[0][2])
    check("deterministic: it computed", sha(lines(2000)).encode() in runs[0][1])
    check("deterministic: it read its disk", sha(DISK).encode() in runs[0][1])
    check("deterministic: twice the same", runs[0] == runs[1])
    check("deterministic: the same when interpreted", runs[0] == runs[2])


def left():
    """What is on disk and who listens, to see that a failure leaves nothing behind."""
    return sorted(os.path.join(d, f) for d, ds, fs in os.walk(work + "/home") for f in ds + fs)


def wrong_files():
    whole = read(kernel)
    before = left()
    none = ["--net", "none"]

    def kernel_is(name, pattern, data):
        refuses(name, pattern, "--kernel", path("wrong", data), "--initrd", initrd, *none)

    refuses("kernel missing", "nothere", "--kernel", work + "/nothere", *none)
    refuses("kernel is a folder", re.escape(work), "--kernel", work, *none)
    kernel_is("kernel empty", "wrong", b"")
    kernel_is("kernel of zeros", "wrong", bytes(65536))
    kernel_is("kernel truncated", "wrong.*(truncated|cut|short|end)", whole[:100000])
    kernel_is("kernel of which only the header is left", "wrong", whole[:64])
    kernel_is("kernel is this machine's program", "wrong.*x86", read("/bin/true"))
    arm = bytearray(whole[:4096])
    arm[48:56], arm[56:60] = bytes(8), b"ARM\x64"
    kernel_is("kernel for arm64", "wrong.*(arm64|AArch64)", bytes(arm) + bytes(1 << 20))
    kernel_is("gzip cut short", "wrong", gzip.compress(whole[:4 << 20], 1)[:100000])
    kernel_is("gzip of nonsense", "wrong", gzip.compress(bytes(1 << 20)))
    refuses("kernel larger than memory", "kernel.*memory", "--kernel", kernel, "--memory", "16M", *none)
    big = path("big", b"")
    os.truncate(big, 600 << 20)
    refuses("initrd larger than memory", "big.*memory", "--kernel", kernel, "--initrd", big, "--memory", "512M", *none)
    refuses("initrd missing", "nothere", "--kernel", kernel, "--initrd", work + "/nothere", *none)
    refuses("disk missing", "nothere", *BOOT, "--disk", work + "/nothere", *none)
    refuses("disk is a folder", re.escape(work), *BOOT, "--disk", work, *none)
    refuses("disk empty", "nothing", *BOOT, "--disk", path("nothing", b""), *none)
    if os.geteuid():
        ro = path("ro", bytes(1 << 20))
        os.chmod(ro, 0o444)
        refuses("disk that may not be written", "ro.*(ermission|read-only)", *BOOT, "--disk", ro, *none)
    refuses("firmware missing", "nothere", "--firmware", work + "/nothere", *none)
    refuses("image missing", "lodge image build", "no-such-image")
    refuses("no cpus", "cpus", *BOOT, "--cpus", "0")
    refuses("memory that this machine lacks", "memory", *BOOT[:-2], "--memory", "900T")
    check("nothing is left behind: %s" % [f for f in left() if f not in before],
          [f for f in left() if f not in before and not f.endswith("/lock")] == [])


def recipes():
    """Needs no network once built; a killed build leaves nothing in the way; failing says why."""
    build, out = TOP + "/guests/build", path("made/linux")

    def making(*args, **env):
        return subprocess.run([build, *args], capture_output=True, text=True, timeout=600,
                              env={**os.environ, **env}, stdin=subprocess.DEVNULL)

    p = subprocess.Popen([build, "linux", "riscv64", out], stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in p.stderr:
        if "packing" in line:
            break
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    check("recipe: killed, it has made nothing", not os.path.exists(out))
    r = making("linux", "riscv64", out)
    check("recipe: the next build succeeds: " + r.stderr, r.returncode == 0)
    check("recipe: nothing of the killed build is left: %s" % os.listdir(path("made")),
          sorted(os.listdir(path("made"))) == ["linux", "linux.lock"])
    check("recipe: equal inputs make equal images", read(out + "/initrd") == read(initrd) or image != DEFAULT)
    nowhere = {"LODGE_MIRROR": "http://127.0.0.1:9/debian"}
    r = making("linux", "riscv64", out, **nowhere)
    check("recipe: needs no network once built: " + r.stderr, r.returncode == 0 and "up to date" in r.stderr)
    for name, args in (("no-such", ("no-such", "riscv64")), ("../linux", ("../linux", "riscv64")), ("vax", ("linux", "vax"))):
        r = making(*args, path("made/other"))
        check("recipe: refuses %s: %s" % (name, r.stderr), r.returncode == 1 and r.stderr.count("\n") == 1)
    check("recipe: failures leave nothing", sorted(os.listdir(path("made"))) == ["linux", "linux.lock"])


parts = [recipes, one_cpu, two_cpus, run_and_power_off, vectors, network, disk, formats, stopped, stats, code_cache, profile, deterministic, opensbi_old, opensbi_new, u_boot, wrong_files]
for p in parts:
    if len(sys.argv) < 2 or any(a in p.__name__ for a in sys.argv[1:]):
        part(p)
finish()
