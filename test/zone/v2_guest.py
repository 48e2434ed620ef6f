"""Zones where control groups are of version 2 alone, the kernel is Debian's and systemd shares its
mounts: in a vm of ours. LONG: the image may have to be made."""
import os, re, shutil, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import BUSYBOX, LODGE, Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
arch = {"x86_64": "amd64"}.get(os.uname().machine, os.uname().machine)
l = Lodge(work)
NOT = re.compile(r"/(libc|libm|ld-linux[^/]*)\.so")


def kit():
    """The program as it is here, with what it is linked to and loads; the vm has the C library."""
    at = os.path.join(work, "kit")
    os.makedirs(os.path.join(at, "lib"))
    shutil.copy(LODGE, os.path.join(at, "lodge"))
    found = subprocess.run("ldconfig -p | sed -n 's/.*libarchive.so.13 .*=> //p' | head -n 1", shell=True,
                           capture_output=True, text=True).stdout.strip()
    for program in LODGE, found:
        out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for path in [found] + re.findall(r"(/\S+\.so\S*)", out):
            if path and not NOT.search(path):
                shutil.copy(path, os.path.join(at, "lib"))
    shutil.copy(os.path.join(work, "box.tar"), at)
    return at


def vm(*words):
    return l.call("exec", "-e", "LD_LIBRARY_PATH=/kit/lib", "vm", *words)


def lodge(*words):
    return vm("/kit/lodge", *words)


def files(*names):
    return vm("sh", "-c", "cd /sys/fs/cgroup/lodge-zone-*/ && cat " + " ".join(names)).out.split("\n")[:-1]


def limits():
    c.gives(lodge("run", "-d", "--name", "a", "-m", "64M", "--memory-high", "40M", "--memory-reservation", "33M", "--cpus",
                  "0.5", "--io-rate", "1M", "--io-ops", "100", "--cpuset-cpus", "0", "--pids-limit", "20", "box", "sleep", "1000"), 0)
    all_ = "memory.max", "memory.high", "memory.low", "cpu.max", "cpuset.cpus", "pids.max", "io.max"
    c.same(files(*all_)[:6], ["67108864", "41943040", "34603008", "50000 100000", "0", "20"], "limits")
    c.check(files("io.max")[0].endswith("rbps=1048576 wbps=1048576 riops=100 wiops=100"), "of disks", files("io.max"))
    for option, value in (("--memory", "80M"), ("--memory-high", "max"), ("--memory-reservation", "50M"), ("--io-rate", "2M"),
                          ("--io-ops", "max"), ("--cpus", "max"), ("--cpuset-cpus", "max")):
        c.gives(lodge("update", option, value, "a"), 0)
    c.same(files(*all_)[:6], ["83886080", "max", "52428800", "max 100000", "0-1", "20"], "changed")
    c.check(files("io.max")[0].endswith("rbps=2097152 wbps=2097152 riops=max wiops=max"), "of disks", files("io.max"))
    c.gives(lodge("update", "--memory-reservation", "max", "--io-rate", "max", "a"), 0)
    c.same(files("memory.low", "io.max"), ["0"], "lifted")
    c.gives(lodge("pause", "a"), 0)
    c.same(files("cgroup.freeze"), ["1"], "paused")
    c.gives(lodge("resume", "a"), 0)


def sessions():
    c.gives(lodge("exec", "a", "cat", "/proc/self/cgroup"), 0, "0::/\n", "a session is in the zone's groups")
    c.gives(lodge("exec", "a", "sh", "-c", "echo x > /root/f; rm /etc/joe-only; exit 4"), 4)
    c.check({"A /root/f", "D /etc/joe-only"} <= set(lodge("diff", "a").out.splitlines()), "diff")
    for words in ("snapshot", "a", "one"), ("clone", "a", "b"), ("start", "b"):
        c.gives(lodge(*words), 0)
    c.gives(lodge("exec", "b", "cat", "/root/f"), 0, "x\n")
    c.gives(lodge("commit", "a", "made"), 0)
    c.gives(lodge("run", "made", "cat", "/root/f"), 0, "x\n")
    for n in "a", "b":
        c.gives(lodge("rm", "-f", n), 0)


def nothing_left():
    c.same(vm("sh", "-c", "grep -c overlay /proc/self/mountinfo").out, "0\n", "the host's mounts are as they were")
    c.check(vm("cat", "/etc/hostname").out.strip(), "its /etc, too")
    c.same(vm("sh", "-c", "ls -d /sys/fs/cgroup/lodge-zone-* | wc -l").out, "0\n", "and its control groups")


try:
    c.gives(l.import_box(), 0)
    c.gives(l.call("image", "build", "--arch", arch, "debian", timeout=2400), 0)
    c.gives(l.call("run", "-d", "--name", "vm", "-c", "2", "-m", "1G", "--arch", arch, "-v", kit() + ":/kit", "debian"), 0)
    c.check(until(lambda: vm("test", "-e", "/kit/lodge").returncode == 0, 180), "the vm is up")
    c.check(vm("stat", "-fc", "%T", "/sys/fs/cgroup").out == "cgroup2fs\n", "version 2 alone")
    c.gives(lodge("image", "import", "/kit/box.tar", "box"), 0)
    c.gives(lodge("run", "box", "echo", "in a zone in a vm"), 0, "in a zone in a vm\n")
    limits()
    sessions()
    nothing_left()
finally:
    l.end()
c.end()
