"""What a zone's keeper has, once the zone runs: as this host's kernel says."""
import fcntl, json, os, stat, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
store = os.path.join(work, "store")
OWN = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31]  # plan.c's: CHOWN to SETFCAP, linux/capability.h
ENTER = [21, 24]  # SYS_ADMIN, SYS_RESOURCE
# As far as this host's root has them.
mask = lambda caps: "%016x" % (sum(1 << x for x in caps) & int(status("self")["CapBnd"], 16))


def processes(l, name):
    """The zone's first process, and who has made it."""
    own = "lodge-zone-" + json.loads(l.call("inspect", name).out)[0]["id"]
    for d, names, files in os.walk("/sys/fs/cgroup"):
        if os.path.basename(d) == own and "cgroup.procs" in files:
            for pid in open(os.path.join(d, "cgroup.procs")).read().split():
                parent = status(pid)["PPid"]
                if "lodge-keeper" in open("/proc/%s/cmdline" % parent).read():
                    return pid, parent
    return None, None


def status(pid):
    return dict(x.split(":", 1) for x in open("/proc/%s/status" % pid).read().replace("\t", "").splitlines() if ":" in x)


def space(pid, what):
    return os.readlink("/proc/%s/ns/%s" % (pid, what))


def descriptors(keeper):
    """None of a folder has anything above it; and what kinds there are."""
    kinds = set()
    for n in os.listdir("/proc/%s/fd" % keeper):
        at = "/proc/%s/fd/%s" % (keeper, n)
        to = os.readlink(at)
        st, kind = os.stat(at), to.split(":")[0]
        if stat.S_ISDIR(st.st_mode):
            up = os.stat(at + "/../..")
            c.check((up.st_dev, up.st_ino) == (st.st_dev, st.st_ino), "nothing is above", to)
            kind = "folder"
        kind = "log" if to.endswith("/monitor.log") else kind
        kinds.add("memfd" if kind.startswith("/memfd") else kind)
    return kinds


def kept(l):
    c.gives(l.call("run", "-d", "--name", "k", "box", "sleep", "1000"), 0)
    init, keeper = processes(l, "k")
    c.check(keeper, "there is a keeper")
    s = status(keeper)
    c.same((s["CapEff"], s["CapPrm"], s["CapBnd"]), (mask(OWN + ENTER),) * 3, "its rights")
    c.same((s["NoNewPrivs"], s["Seccomp"]), ("1", "2"), "no new ones, and a filter")
    c.same(space(keeper, "net"), space(init, "net"), "its network is the zone's")
    for what in "mnt", "ipc", "uts", "net":
        c.check(space(keeper, what) != space("self", what), "its own: " + what)
    c.same(sorted(os.listdir("/proc/%s/root" % keeper)), ["proc"], "its root")
    c.check(not os.path.exists("/proc/%s/root/proc/sys" % keeper), "of the host's /proc only processes")
    kinds = descriptors(keeper)
    c.check(kinds <= {"folder", "socket", "pipe", "/dev/null", "memfd", "anon_inode", "log"}, "its descriptors",
            sorted(kinds))
    folder = os.open(os.path.join(store, "guests/k"), os.O_RDONLY)
    locked = lambda: lock(folder)
    c.check(locked(), "the guest's folder is locked")
    c.gives(l.call("exec", "k", "sh", "-c", "id -u; ls /; cat /proc/self/status | grep NoNew"), 0, None, "it serves")
    c.gives(l.call("update", "--io-rate", "1M", "--cpuset-cpus", "max", "k"), 0)
    c.gives(l.call("pause", "k"), 0)
    c.gives(l.call("resume", "k"), 0)
    c.gives(l.call("kill", "k"), 0)
    c.check(until(lambda: not locked()), "and free afterwards")
    os.close(folder)
    c.gives(l.call("rm", "k"), 0)


def lock(fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        return True
    return False


def host(l):
    """With this machine's ids and network, it has what that takes."""
    c.gives(l.call("run", "-d", "--name", "h", "--userns", "host", "--net", "host", "-u", "joe", "box", "sleep", "1000"), 0)
    init, keeper = processes(l, "h")
    s = status(keeper)
    c.same(s["CapBnd"], mask(OWN + ENTER + [19]), "SYS_PTRACE, too, to enter")
    c.same(space(keeper, "net"), space("self", "net"), "the host's network was asked for")
    c.gives(l.call("exec", "-u", "joe", "h", "id", "-u"), 0, "1000\n")
    c.gives(l.call("exec", "-u", "0", "h", "sh", "-c", "id -u; chown 5 /tmp; stat -c %u /tmp"), 0, "0\n5\n")
    c.gives(l.call("rm", "-f", "h"), 0)


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in kept, host:
        part(l)
finally:
    l.end()
c.end()
