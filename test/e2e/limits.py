"""What guests use of the host, and give back: memory that they free, or that their balloon is told to
take, while nothing that they still use is lost; CPU time, and what their disks do in a second. How fast
is only asked where it is the matter itself, and there with much room: the machine has others at work."""
import json
import os
import subprocess
import sys
import time

from guest import LODGE, Guest, boots, check, finish, give_up, part, work

os.environ["LODGE_HOME"] = work + "/home"
CPU = {"riscv64": os.environ["GUEST_riscv64"], "amd64": os.environ["GUEST_amd64"]}
MIB, names = 2**20, 0
WAIT = 600 if os.environ.get("SAN") else 120


def lodge(*args):
    p = subprocess.run([LODGE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=WAIT)
    return p.returncode, p.stdout


def guest(arch, *more, memory="1G"):
    global names
    names += 1
    folder, name = CPU[arch], "g%d" % names
    g = boots("%s %s" % (arch, name), "--name", name, "--arch", arch, "--kernel", folder + "/kernel",
              "--initrd", folder + "/initrd", "--memory", memory, "--append", "console=ttyS0 quiet", *more)
    if g:
        g.name = name
        g.run("modprobe virtio_balloon; mount -t tmpfs -o size=95% t /mnt")
    return g


def stat(g, key):
    code, said = lodge("stats", "--format", "json", g.name)
    return json.loads(said)[0][key] if code == 0 else -1


def until(what, g, fn):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if fn():
            return check(what, True)
        time.sleep(0.3)
    return check("%s: %s" % (what, {k: stat(g, "memory_" + k) // MIB for k in ("resident", "balloon", "target")}),
                 False, g)


def ended(g):
    lodge("rm", "-f", g.name)
    g.end()


def gives_back(arch):
    """A file of 512 MiB in memory, and what is left of it on the host once it is gone."""
    g = guest(arch)
    if not g:
        return
    g.run("head -c 8388608 /dev/urandom > /mnt/kept; md5sum /mnt/kept > /tmp/sum")
    g.run("dd if=/dev/zero of=/mnt/file bs=1M count=512")
    full = stat(g, "memory_resident")
    check(arch + ": the host keeps what the guest uses", full >= 512 * MIB, g)
    g.run("rm /mnt/file")
    until(arch + ": and gets back what it frees", g, lambda: stat(g, "memory_resident") < full - 0.95 * 512 * MIB)
    check(arch + ": what it has kept is there", g.says("md5sum -c /tmp/sum", "kept: OK"), g)
    check(arch + ": it says what it uses", 0 < stat(g, "memory_used") < 512 * MIB, g)
    check(arch + ": takes it again", g.says("dd if=/dev/zero bs=1M count=300 | md5sum > /tmp/a; dd if=/dev/zero "
                                            "of=/mnt/b bs=1M count=300; md5sum < /mnt/b | diff - /tmp/a && echo "
                                            "same", "^same"), g)
    ended(g)


def squeezed(arch):
    """The balloon is blown up and let go, again and again, under programs that check their memory."""
    g = guest(arch)
    if not g:
        return
    g.run("head -c 16777216 /dev/urandom > /mnt/kept; md5sum /mnt/kept > /tmp/sum")
    g.run("(n=0; while [ ! -e /tmp/stop ]; do cp /mnt/kept /mnt/copy; cmp /mnt/kept /mnt/copy || echo no >> /tmp/bad; "
          "rm /mnt/copy; n=$((n+1)); echo $n > /tmp/rounds; done) & true")
    for size in 256, 400, 200:
        check(arch + ": update: %s" % size, lodge("update", "--memory", "%dM" % size, g.name)[0] == 0)
        until(arch + ": keeps %d MiB" % size, g, lambda: stat(g, "memory_balloon") == (1024 - size) * MIB)
        check(arch + ": and the host no more", stat(g, "memory_resident") <= size * MIB, g)
        check(arch + ": update: max", lodge("update", "--memory", "max", g.name)[0] == 0)
        until(arch + ": has all of it again", g, lambda: stat(g, "memory_balloon") == 0)
    g.run("touch /tmp/stop; sleep 2")
    check(arch + ": its programs go on", g.says("cat /tmp/rounds", r"^[1-9]\d*"), g)
    check(arch + ": nothing is lost", g.says("cat /tmp/bad; md5sum -c /tmp/sum", "^/mnt/kept: OK") and
          not g.says("cat /tmp/bad", "^no"), g)
    code, said = lodge("update", "--memory", "2G", g.name)
    check(arch + ": no more than it was started with: " + said, code == 125 and "started with 1024M" in said)
    lodge("update", "--memory", "512M", g.name)
    code, said = lodge("inspect", "--format", "{{.Spec.Target}}", g.name)
    check(arch + ": inspect tells: " + said, said.strip() == str(512 * MIB))
    ended(g)



def used(g, seconds=4):
    before, t = stat(g, "cpu_ns"), time.monotonic()
    time.sleep(seconds)
    return (stat(g, "cpu_ns") - before) / (time.monotonic() - t) / 1e9


def capped(arch):
    """Two of them that compute; the limit is an upper one: how much of it each gets is the host's affair."""
    two = [guest(arch, "--cpus", "0.4", memory="256M") for _ in range(2)]
    if not all(two):
        return
    for g in two:
        g.run("while :; do :; done & true")
    share = [used(g) for g in two]
    check(arch + ": no more than 0.4 of a CPU each: %s" % share, all(0.02 < s < 0.48 for s in share))
    lodge("update", "--cpus", "0.1", two[0].name)
    share = used(two[0])
    check(arch + ": nor 0.1, once it is told: %s" % share, 0.005 < share < 0.14)
    check(arch + ": it works all the same", two[0].says("echo wor''ks", "^works"), two[0])
    lodge("update", "--cpus", "max", two[0].name)
    share = used(two[0])
    check(arch + ": and is let go: %s" % share, share > 0.14)
    for g in two:
        ended(g)


def slow_disk(arch):
    """Behind virtio, and behind NVMe."""
    bus, dev = {"riscv64": ("virtio", "vda"), "amd64": ("nvme", "nvme0n1")}[arch]
    disk = "%s/disk-%s" % (work, arch)
    with open(disk, "wb") as f:
        f.write(os.urandom(16 * MIB))
    g = guest(arch, "--disk", disk + ",format=raw,if=" + bus, "--io-rate", "4M", memory="256M")
    if not g:
        return
    t = time.monotonic()
    with open(disk, "rb") as f:
        import hashlib
        sum = hashlib.md5(f.read()).hexdigest()
    check(arch + ": what it reads is right", g.says("md5sum /dev/" + dev, sum), g)
    took = time.monotonic() - t
    check(arch + ": 16 MiB at 4 MiB a second: %.1f s" % took, took > 3, g)
    check(arch + ": update", lodge("update", "--io-rate", "max", "--io-ops", "2000", g.name)[0] == 0)
    check(arch + ": reads again", g.says("echo 3 > /proc/sys/vm/drop_caches; md5sum /dev/" + dev, sum), g)
    ended(g)


def grows(arch):
    """Begun with little, more later, up to what was said, and no more."""
    g = guest(arch, "--memory-max", "1G", memory="300M")
    if not g:
        return
    until(arch + ": begins with 300 MiB", g, lambda: stat(g, "memory_balloon") == 724 * MIB)
    check(arch + ": grows", lodge("update", "--memory", "800M", g.name)[0] == 0)
    until(arch + ": has 800 MiB", g, lambda: stat(g, "memory_balloon") == 224 * MIB)
    check(arch + ": and they are there", g.says("dd if=/dev/zero of=/mnt/b bs=1M count=500 && echo fi''ts", "^fits"), g)
    code, said = lodge("update", "--memory", "1100M", g.name)
    check(arch + ": no more than its most: " + said, code == 125 and "1024M" in said)
    ended(g)


def in_a_group(arch):
    """memory.high, or what version 1 has, is as it was asked for, and gone afterwards."""
    files = ("memory.high", "memory.soft_limit_in_bytes")
    def high():
        with open("/proc/%d/cgroup" % stat(g, "pid")) as f:
            paths = dict((l.split(":")[1], l.strip().split(":", 2)[2]) for l in f)
        for top in "/sys/fs/cgroup/memory" + paths.get("memory", "/-"), "/sys/fs/cgroup" + paths.get("", "/-"):
            for file in files:
                if os.path.exists(top + "/" + file):
                    with open(top + "/" + file) as f:
                        return top, f.read().strip()
        return "", ""
    g = guest(arch, "--memory-high", "400M", memory="256M")
    if not g:
        return
    group, has = high()
    check(arch + ": in a group of its own: " + group, "lodge-" in group and has == str(400 * MIB))
    check(arch + ": update", lodge("update", "--memory-high", "300M", g.name)[0] == 0 and high()[1] == str(300 * MIB))
    check(arch + ": update: max", lodge("update", "--memory-high", "max", g.name)[0] == 0 and
          (high()[1] == "max" or int(high()[1]) > 1 << 60))
    ended(g)
    check(arch + ": the group goes with it", not os.path.exists(group))


KSM = "/sys/kernel/mm/ksm/"


def told(file, value=None):
    """What the host says, and is told, of KSM; None: it cannot be told."""
    try:
        with open(KSM + file, "w" if value else "r") as f:
            return f.write(value) if value else f.read().strip()
    except OSError:
        return None


def has_merged(guests, least):
    """Where the host does that, or may be asked to for as long as it takes."""
    was = told("run"), told("pages_to_scan")
    if was[0] != "1" and not told("run", "1"):
        return print("SKIPPED: nothing is merged: this host's KSM is off, and root only turns it on")
    try:
        told("pages_to_scan", "10000")
        for g in guests:
            until(g.name + ": what both hold is there once", g, lambda: stat(g, "memory_merged") > least)
    finally:
        for file, value in zip(("run", "pages_to_scan"), was):
            told(file, value)


def merged(arch):
    """Two that hold the same 6 MiB, until one writes to it; and one of them saved and gone on with."""
    if told("run") is None:
        return print("SKIPPED: this host has no KSM")
    two = [guest(arch, "--memory-merge", memory="256M") for _ in range(2)]
    if not all(two):
        return
    for g in two:
        g.run("seq 1 900000 > /mnt/same; sum=$(md5sum /mnt/same)")
    code, said = lodge("inspect", "--format", "{{.Spec.MemoryMerge}}", two[0].name)
    check(arch + ": inspect tells: " + said, said.strip() == "true")
    has_merged(two, 4 * MIB)
    two[0].run("echo other | dd of=/mnt/same bs=1 seek=4096 conv=notrunc")
    check(arch + ": who writes has what it wrote", two[0].says('[ "$(md5sum /mnt/same)" = "$sum" ] || echo oth''er',
                                                               "^other"), two[0])
    check(arch + ": the other what it had", two[1].says('[ "$(md5sum /mnt/same)" = "$sum" ] && echo sa''me', "^same"),
          two[1])
    two[0].run("dd if=/dev/zero of=/mnt/much bs=1M count=60")
    full = stat(two[0], "memory_resident")
    two[0].run("rm /mnt/much")
    until(arch + ": what is freed goes back", two[0], lambda: stat(two[0], "memory_resident") < full - 32 * MIB)
    check(arch + ": snapshot", lodge("snapshot", two[1].name, "s")[0] == 0)
    file = "%s/home/guests/%s/snapshots/s" % (work, two[1].name)
    for more in ["--memory-merge"], []:
        g = Guest("--restore", file, "--arch", arch, "--kernel", CPU[arch] + "/kernel", "--initrd", CPU[arch] + "/initrd",
                  "--memory", "256M", "--append", "console=ttyS0 quiet", *more)
        check("%s: saved and gone on with %s" % (arch, more), g.says('[ "$(md5sum /mnt/same)" = "$sum" ] && echo sa''me',
                                                                    "^same"), g)
        give_up(g)
    for g in two:
        ended(g)


GROUPS = subprocess.run([LODGE, "doctor"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True).stdout
PARTS = [("%s_%s" % (fn.__name__, arch), fn, arch)
         for fn in (gives_back, squeezed, capped, slow_disk, grows, merged, *([in_a_group] if "and --memory-high" in GROUPS else []))
         for arch in ("riscv64", "amd64")]
if __name__ == "__main__":
    for name, fn, arch in PARTS:
        if not sys.argv[1:] or name in sys.argv[1:] or fn.__name__ in sys.argv[1:]:
            def run(fn=fn, arch=arch):
                fn(arch)
            run.__name__ = name
            part(run)
    finish()
