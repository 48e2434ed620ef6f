"""Limits of zones: in the kernel's files, changed while they run, and that they hold. With the word
shares: two zones under full load share a CPU as they were told."""
import glob, json, os, sys, tempfile, time
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)


def ident(l, name):
    return json.loads(l.call("inspect", name).out)[0]["id"]


TWO = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
TREES = glob.glob("/sys/fs/cgroup/*") + ["/sys/fs/cgroup"]


def group(l, name, v1, v2):
    """What a file of the zone's group says, whichever version has it; None: none has."""
    own = "lodge-zone-" + ident(l, name)
    for d in (os.path.join(t, own) for t in TREES):
        for f in v1, v2:
            try:
                return open(os.path.join(d, f)).read().strip()
            except OSError:
                pass
    return None


def group_root(file):
    for t in TREES:
        try:
            return open(os.path.join(t, file)).read().strip()
        except OSError:
            pass
    return None


def values(l, name):
    files = [("memory.limit_in_bytes", "memory.max"), ("cpu.cfs_quota_us", "cpu.max"),
             ("cpu.shares", "cpu.weight"), ("cpuset.cpus", "cpuset.cpus"), ("pids.max", "pids.max")]
    return [group(l, name, *f) for f in files]


def told(l):
    c.gives(l.call("run", "-d", "--name", "a", "-m", "64M", "--cpus", "0.5", "--cpu-shares", "512",
                   "--cpuset-cpus", "0", "--pids-limit", "20", "box", "sleep", "1000"), 0)
    new = [str(64 << 20), "50000 100000" if TWO else "50000", "20" if TWO else "512", "0", "20"]
    changed = [str(100 << 20), "200000 100000" if TWO else "200000", "79" if TWO else "2048", "0", "30"]
    c.same(values(l, "a"), new, "limits of a new zone")
    c.gives(l.call("update", "--memory", "100M", "--cpus", "2", "--cpu-shares", "2048",
                   "--pids-limit", "30", "a"), 0)
    c.same(values(l, "a"), changed, "changed as it runs")
    c.gives(l.call("stop", "-t", "0", "a"), 0)
    c.gives(l.call("start", "a"), 0)
    c.same(values(l, "a"), changed, "and kept")
    c.gives(l.call("update", "--cpus", "max", "a"), 0)
    c.same(group(l, "a", "cpu.cfs_quota_us", "cpu.max"), "max 100000" if TWO else "-1", "lifted")
    c.gives(l.call("update", "--pids-limit", "x", "a"), 125)
    c.gives(l.call("run", "--cpuset-cpus", "63", "box", "true"), 125)
    c.gives(l.call("run", "--cpuset-cpus", "1-0", "box", "true"), 125)


def each(l):
    """Every limit there is, from the beginning, changed while it runs, and lifted."""
    disk = "%d:%d" % (lambda d: (os.major(d), os.minor(d)))(os.stat(work).st_dev)
    if os.path.exists("/sys/dev/block/%s/partition" % disk):
        disk = open("/sys/dev/block/%s/../dev" % disk).read().strip()
    most = group_root("memory.soft_limit_in_bytes") or "max"
    cpus = "0-%d" % (os.cpu_count() - 1) if os.cpu_count() > 1 else "0"
    table = [  # option, what it is at first, what then, files of versions 1 and 2, their words, and lifted
        ("--memory-high", "64M", "80M", "memory.soft_limit_in_bytes", "memory.high", "67108864", "83886080", most),
        ("--io-weight", "200", "300", "blkio.bfq.weight", "io.bfq.weight", "200", "300", "100"),
        ("--cpuset-cpus", "0", "0,1" if os.cpu_count() > 1 else "0", "cpuset.cpus", "cpuset.cpus", "0", cpus, cpus),
        ("--io-rate", "1M", "2M", "blkio.throttle.read_bps_device", "none", disk + " 1048576", disk + " 2097152", ""),
        ("--io-rate", "1M", "2M", "blkio.throttle.write_bps_device", "none", disk + " 1048576", disk + " 2097152", ""),
        ("--io-ops", "100", "200", "blkio.throttle.read_iops_device", "none", disk + " 100", disk + " 200", ""),
        ("--io-ops", "100", "200", "blkio.throttle.write_iops_device", "none", disk + " 100", disk + " 200", "")]
    words = lambda column: [w for o in dict.fromkeys(t[0] for t in table)
                            for w in (o, [t for t in table if t[0] == o][0][column])]
    c.gives(l.call("run", "-d", "--name", "each", *words(1), "box", "sleep", "1000"), 0)
    said = lambda: [group(l, "each", t[3], t[4]) for t in table]
    if None in said():
        print("not all of version 1's files are here: those that are not, are not compared", said())
    same = lambda column, what: c.same([s for s in said() if s is not None],
                                       [t[column] for t, s in zip(table, said()) if s is not None], what)
    same(5, "each limit")
    for option, value in zip(words(2)[::2], words(2)[1::2]):
        c.gives(l.call("update", option, value, "each"), 0)
    same(6, "each, changed")
    c.gives(l.call("stop", "-t", "0", "each"), 0)
    c.gives(l.call("start", "each"), 0)
    same(6, "each, kept")
    for option in words(1)[::2]:
        c.gives(l.call("update", option, "max", "each"), 0)
    same(7, "each, lifted")
    about = json.loads(l.call("inspect", "each").out)[0]
    c.check(not [k for k in about if "io" in k and "limit" in k], "none is told of", about)
    for bad in ("--io-weight", "9"), ("--io-weight", "1001"), ("--cpuset-cpus", "63"), ("--memory-high", "1M"), ("--io-rate", "1"):
        p = l.call("update", *bad, "each")
        c.check(p.returncode == 125 and p.err, "update %s %s" % bad, p.err)
    p = l.call("update", "--memory", "200M", "--memory-reservation", "40M", "each")
    if group(l, "each", "none", "memory.low") is None:
        c.check(p.returncode == 125 and "version 2" in p.err, "a reservation takes version 2", p.err)
        c.check(group(l, "each", "memory.limit_in_bytes", "memory.max") != str(200 << 20), "all or nothing")
        c.gives(l.call("run", "--memory-reservation", "40M", "box", "true"), 125)
    else:
        c.same(group(l, "each", "none", "memory.low"), str(40 << 20), "a reservation")
        c.gives(l.call("update", "--memory-reservation", "max", "each"), 0)
        c.same(group(l, "each", "none", "memory.low"), "0", "a reservation, lifted")
    same(7, "what is refused changes nothing")
    c.gives(l.call("rm", "-f", "each"), 0)


def read_slowly(l):
    """A limit of disks holds: reading past the page cache takes as long as it must, at least."""
    if not glob.glob("/sys/fs/cgroup/blkio/blkio.throttle*") and "io" not in open("/sys/fs/cgroup/cgroup.controllers").read():
        return print("no limits of disks here: not tried")
    read = "dd if=/dev/urandom of=/f bs=1M count=4 2>/dev/null; sync; dd if=/f of=/dev/null bs=1M iflag=direct 2>/dev/null; echo read"
    c.gives(l.call("run", "--name", "slow", "box", "sh", "-c", read), 0, "read\n")
    began = time.monotonic()
    c.gives(l.call("run", "--name", "slow", "--io-rate", "1M", "box", "sh", "-c", read), 0, "read\n")
    took = time.monotonic() - began
    c.check(took > 2, "four megabytes at one a second", took)
    c.gives(l.call("rm", "slow"), 0)


def held(l):
    """One that wants more is stopped, and others do not notice."""
    eat = "x=$(head -c 200m /dev/zero | tr '\\0' x); echo ${#x}"
    c.gives(l.call("run", "-m", "48M", "box", "sh", "-c", eat), 137, "", "over its memory")
    c.gives(l.call("run", "-m", "48M", "box", "sh", "-c", "echo small"), 0, "small\n")
    p = l.call("run", "--pids-limit", "12", "box", "sh", "-c",
               "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do sleep 100 & done; echo all")
    c.check(p.returncode and "can't fork" in p.err, "over its processes", (p.out, p.err))
    c.gives(l.call("run", "-d", "--name", "bomb", "--pids-limit", "40", "box", "sh", "-c",
                   "b() { b | b & }; b; sleep 1000"), 0)
    full = lambda: int(group(l, "bomb", "pids.current", "pids.current") or 0)
    refused = lambda: (group(l, "bomb", "pids.events", "pids.events") or "max 0").split()[1] != "0"
    c.check(until(refused), "a bomb of processes goes off", full())
    c.check(all(full() <= 40 for _ in range(50)), "and is held")
    c.gives(l.call("rm", "-f", "bomb"), 0, None, "and goes")
    c.gives(l.call("exec", "a", "echo", "here"), 0, "here\n", "others live")
    if TWO and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 5):
        return print("a disk of its own as a root: not with version 2 before Linux 6.5")
    p = l.call("run", "--storage", "16M", "box", "sh", "-c",
               "dd if=/dev/zero of=/big bs=1M count=64 2>&1 | grep -o 'No space'; rm /big; echo x > /f; cat /f")
    c.gives(p, 0, "No space\nx\n", "one who fills its disk")
    c.gives(l.call("run", "--storage", "1M", "box", "true"), 125)


def shares(l):
    """3:1 within 5 %, of what both had together on a CPU they share; the best of some tries, since
    this machine may have other work."""
    spin = ["--cpuset-cpus", "0", "box", "sh", "-c", "while :; do :; done"]
    c.gives(l.call("run", "-d", "--name", "three", "--cpu-shares", "3072", *spin), 0)
    c.gives(l.call("run", "-d", "--name", "one", "--cpu-shares", "1024", *spin), 0)
    def used(n):
        text = group(l, n, "cpuacct.usage", "cpu.stat")
        return int(text.split()[1] if TWO else text)  # usage_usec comes first
    seen = []
    for _ in range(6):
        was = used("three"), used("one")
        time.sleep(5)
        now = used("three"), used("one")
        seen.append((now[0] - was[0]) / (now[1] - was[1]))
        if abs(seen[-1] / 3 - 1) <= 0.05:
            break
    c.check(abs(seen[-1] / 3 - 1) <= 0.05, "three to one", seen)
    print("shares:", seen)


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in ([shares] if "shares" in sys.argv else [told, each, read_slowly, held]):
        part(l)
finally:
    l.end()
c.end()
