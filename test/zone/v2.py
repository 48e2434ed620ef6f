"""Control groups of version 2 with all their controllers, as crun has them: the same bundle, the same files.
Runs as root of a computer that has nothing else (see v2.sh). Arguments: the runtime, PART..."""
import json, os, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import Runtime, Zone, base_make, config, finish, put, result, sh

ROOT = "/sys/fs/cgroup"
home = tempfile.mkdtemp(prefix="lodge-v2-")
os.chmod(home, 0o755)
base = os.path.join(home, "base")
base_make(base)
ours, crun = Runtime("ours", [sys.argv[1]], home), Runtime("crun", ["crun"], home)
both = [ours, crun]
for r in both:
    r.prepare(base)
DISK = "%d:%d" % (lambda n: (os.major(n), os.minor(n)))(os.stat("/").st_dev)
MAJOR, MINOR = map(int, DISK.split(":"))
MEG = 1 << 20


def group(z):
    return next(ROOT + l.strip()[3:] for l in open("/proc/%d/cgroup" % z.pid) if l.startswith("0::"))


def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError as e:
        return type(e).__name__


def same(name, look):
    seen = {r.name: look(r) for r in both}
    result(name, seen["ours"] == seen["crun"], seen)
    return seen["ours"]


def sleeping(resources):
    return put(config(args=["sleep", "1000"]), "linux.resources", resources)


def files(r, resources, names, change=None):
    z = r.create(sleeping(resources))
    if z.made.returncode:
        return "refused"
    d = group(z)
    z.verb("start")
    if change:
        change(z)
    seen = {n: read(os.path.join(d, n)) for n in names}
    z.end()
    return dict(seen, left=os.path.exists(d))


def limits():
    device = lambda **v: [dict(major=MAJOR, minor=MINOR, **v)]
    memory = ["memory.max", "memory.low", "memory.swap.max", "memory.high"]
    cpu = ["cpu.max", "cpu.weight", "cpu.max.burst", "cpu.idle"]
    for name, resources, names, want in (
            ("memory.limit", {"memory": {"limit": 64 * MEG}}, memory, "67108864"),
            ("memory.reservation", {"memory": {"limit": 64 * MEG, "reservation": 32 * MEG}}, memory, "33554432"),
            ("memory.swap", {"memory": {"limit": 64 * MEG, "swap": 96 * MEG}}, memory, "33554432"),
            ("memory.swap without end", {"memory": {"limit": 64 * MEG, "swap": -1}}, memory, "max"),
            ("memory.swap below the limit", {"memory": {"limit": 64 * MEG, "swap": 32 * MEG}}, memory, "refused"),
            ("memory.swap without a limit", {"memory": {"swap": 32 * MEG}}, memory, "refused"),
            ("memory.swappiness", {"memory": {"swappiness": 50}}, memory, "refused"),
            ("cpu.shares 2", {"cpu": {"shares": 2}}, cpu, "'1'"),
            ("cpu.shares 333", {"cpu": {"shares": 333}}, cpu, "'13'"),
            ("cpu.shares 262144", {"cpu": {"shares": 262144}}, cpu, "'10000'"),
            ("cpu.quota", {"cpu": {"quota": 20000}}, cpu, "20000 100000"),
            ("cpu.period", {"cpu": {"period": 50000}}, cpu, "max 50000"),
            ("cpu.quota and period", {"cpu": {"quota": 20000, "period": 50000}}, cpu, "20000 50000"),
            ("cpu.quota without end", {"cpu": {"quota": -1, "period": 50000}}, cpu, "max 50000"),
            ("cpu.idle", {"cpu": {"idle": 1}}, cpu, "'cpu.idle': '1'"),
            ("cpu.cpus", {"cpu": {"cpus": "1", "mems": "0"}}, ["cpuset.cpus", "cpuset.cpus.effective", "cpuset.mems"], "'1'"),
            ("cpu.cpus that are not there", {"cpu": {"cpus": "77"}}, ["cpuset.cpus"], "refused"),
            ("pids", {"pids": {"limit": 77}}, ["pids.max"], "77"),
            ("pids without end", {"pids": {"limit": -1}}, ["pids.max"], "max"),
            ("blockIO.throttle", {"blockIO": {
                "throttleReadBpsDevice": device(rate=MEG), "throttleWriteBpsDevice": device(rate=2 * MEG),
                "throttleReadIOPSDevice": device(rate=300), "throttleWriteIOPSDevice": device(rate=400)}}, ["io.max"],
             DISK + " rbps=1048576 wbps=2097152 riops=300 wiops=400"),
            ("blockIO.weight", {"blockIO": {"weight": 500}}, ["io.weight", "io.bfq.weight"], "default 4950"),
            ("hugepageLimits", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEG}]}, ["hugetlb.2MB.max"], "4194304"),
            ("unified", {"unified": {"memory.high": "33554432", "pids.max": "55", "cpu.weight": "50"}},
             memory + ["pids.max", "cpu.weight"], "33554432"),
            ("unified over the rest", {"memory": {"limit": 64 * MEG}, "unified": {"memory.max": "33554432"}}, memory, "33554432"),
            ("unified of no such file", {"unified": {"moon.phase": "1"}}, [], "refused"),
            ("unified that leads out", {"unified": {"../cgroup.procs": "1"}}, [], "refused")):
        seen = same("linux.resources." + name, lambda r: files(r, resources, names))
        result(name + " is", want in str(seen), seen)
    # Debian's crun is too old for it.
    seen = files(ours, {"cpu": {"quota": 20000, "burst": 10000}}, cpu)
    result("cpu.burst", seen["cpu.max.burst"] == "10000", seen)


def updated():
    for name, words, names, want in (
            ("memory", ["--memory", str(96 * MEG)], ["memory.max"], "100663296"),
            ("cpus", ["--cpu-quota", "30000", "--cpu-period", "60000"], ["cpu.max"], "30000 60000"),
            ("shares", ["--cpu-share", "2048"], ["cpu.weight"], "79"),
            ("cpus of a set", ["--cpuset-cpus", "0"], ["cpuset.cpus"], "'0'"),
            ("pids", ["--pids-limit", "33"], ["pids.max"], "33")):
        was = {"memory": {"limit": 64 * MEG}, "cpu": {"quota": 20000, "period": 50000, "shares": 512, "cpus": "0-1"}, "pids": {"limit": 20}}
        seen = same("update: " + name, lambda r: files(r, was, names, lambda z: z.verb("update", before=words)))
        result("update: %s is" % name, want in str(seen), seen)
    # crun takes the usual period for one that is not said; ours leaves it, as version 1 does.
    seen = files(ours, was, ["cpu.max"], lambda z: z.verb("update", before=("--cpu-quota", "30000")))
    result("update: a quota alone", seen["cpu.max"] == "30000 50000", seen)


def devices():
    script = "for d in full null fuse loop; do (: < /dev/$d) 2>/dev/null; echo $d $?; (: > /dev/$d) 2>/dev/null; echo $d $?; done"
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}]
    def look(r):
        c = put(sh(script), "linux.resources", {"devices": rules})
        c["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
                                 {"path": "/dev/loop", "type": "b", "major": 7, "minor": 0}]
        return r.run(c).stdout.split("\n")
    seen = same("linux.resources.devices", look)
    result("devices are", seen[:8] == ["full 0", "full 0", "null 0", "null 0", "fuse 0", "fuse 1", "loop 1", "loop 1"], seen)
    made = lambda r: r.run(put(sh("mknod /tmp/m b 7 0; echo $?; (: < /tmp/m) 2>/dev/null; echo $?; rm /tmp/m"), "process.capabilities", {
        s: ["CAP_MKNOD"] for s in ("bounding", "effective", "permitted")})).stdout
    result("a device that it makes", same("making a device", made) == "0\n1\n")


def life():
    def frozen(r):
        z = r.create(sleeping({}))
        z.verb("start")
        d = group(z)
        out = [z.verb("pause").returncode, z.state()["status"], read(d + "/cgroup.freeze"), "frozen 1" in read(d + "/cgroup.events")]
        out += [z.verb("resume").returncode, z.state()["status"], "frozen 0" in read(d + "/cgroup.events")]
        out += [z.verb("pause").returncode, z.end().returncode, os.path.exists(d)]
        until = time.monotonic() + 20
        while os.path.exists("/proc/%d" % z.pid) and time.monotonic() < until:  # init has to wait for it
            time.sleep(0.05)
        out.append(os.path.exists("/proc/%d" % z.pid))
        return out
    seen = same("pause, resume, delete of what is paused", frozen)
    result("and is", seen == [0, "paused", "1", True, 0, "running", True, 0, 0, False, False], seen)

    def killed(r):
        c = sh("sleep 1000 & sleep 1000 & wait")
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
        z = r.create(c)
        z.verb("start")
        d = group(z)
        until = time.monotonic() + 20
        while len(read(d + "/cgroup.procs").split()) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        pids = read(d + "/cgroup.procs").split()
        out = [len(pids), z.verb("kill", "KILL", before=("--all",)).returncode, z.status("stopped")]
        while any(os.path.exists("/proc/" + p) for p in pids) and time.monotonic() < until:
            time.sleep(0.05)
        out += [[os.path.exists("/proc/" + p) for p in pids], z.verb("delete").returncode, os.path.exists(d)]
        return out
    seen = same("kill --all", killed)
    result("and ends all", seen == [3, 0, "stopped", [False] * 3, 0, False], seen)

    def inside(r):
        z = r.create(sleeping({"memory": {"limit": 64 * MEG}}))
        z.verb("start")
        x = z.verb("exec", "cat", "/proc/self/cgroup").stdout.strip()[3:]
        y = group(z)[len(ROOT):]
        z.end()
        return x == y
    result("exec is in the group", same("exec in the group", inside))

    def own(r, ns):
        c = sh("ls /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/memory.max; cat /sys/fs/cgroup/memory.max; cat /proc/self/cgroup; "
               "mkdir /sys/fs/cgroup/x; echo $?; mount | grep -c cgroup2")
        c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nosuid"]})
        put(c, "linux.resources", {"memory": {"limit": 64 * MEG}})
        c["linux"]["namespaces"].append({"type": "cgroup"})
        return r.run(c).stdout
    seen = same("a cgroup namespace", lambda r: own(r, True))
    result("and its limit is seen", "67108864\n0::/\n" in seen, seen)


def hungry():
    """One over its limit is killed; the zone beside it is not, nor is what is in the zone itself."""
    other = ours.create(sleeping({"memory": {"limit": 64 * MEG}}))
    other.verb("start")
    def look(r):
        z = r.create(put(sh("x=$(head -c 200m /dev/zero | tr '\\0' x); sleep 1000"), "linux.resources",
                         {"memory": {"limit": 32 * MEG, "swap": 32 * MEG}}))
        d = group(z)
        z.verb("start")
        until, seen = time.monotonic() + 60, ""
        while "oom_kill 0" in (now := read(d + "/memory.events")) and time.monotonic() < until:
            time.sleep(0.1)
        z.end()
        return "oom_kill 0" not in now and "oom_kill " in now
    result("over its memory", same("over its memory", look))
    result("the other lives", other.state()["status"] == "running" and "oom_kill 0" in read(group(other) + "/memory.events"))
    other.end()
    def alone(r):
        c = put(sh("(x=$(head -c 200m /dev/zero | tr '\\0' x); echo ${#x}); echo ended $?"), "linux.resources",
                {"memory": {"limit": 32 * MEG, "swap": 32 * MEG}})
        p = r.run(c, timeout=60)
        return p.returncode, p.stdout
    same("a child over its zone's memory", alone)
    p = ours.run(put(sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all"), "linux.resources", {"pids": {"limit": 5}}))
    result("over its processes", p.returncode and "can't fork" in p.stderr, p.stdout + p.stderr)


def figures():
    """What `events --stats` says, by runc's."""
    runc = Runtime("runc", ["runc"], home)
    runc.prepare(base)
    def keys(v, at=""):
        if isinstance(v, dict):
            return set().union({at}, *(keys(w, at + "/" + k) for k, w in v.items()))
        return {at}
    seen = {}
    for r in (ours, runc):
        r.write(sleeping({"memory": {"limit": 64 * MEG}, "pids": {"limit": 9}}), "config")
        z = Zone(r, r.fresh(), r.call("run", "-d", r.fresh()))
        z.name = z.made.args[-1]
        d = json.loads(z.verb("events", before=("--stats",)).stdout)["data"]
        if r is ours:
            result("figures", d["pids"]["limit"] == 9 and d["pids"]["current"] == 1 and d["memory"]["usage"]["limit"] == 64 * MEG
                   and d["cpu"]["usage"]["total"] > 0, d)
        seen[r.name] = {k for k in keys(d) if k.count("/") < 3 and not k.startswith(
            ("/memory/raw", "/hugetlb", "/cpuset", "/network_interfaces", "/intel_rdt"))}
        z.end()
    # Of what version 2 does not count, runc says nulls.
    missing = {k for k in seen["runc"] - seen["ours"] if "kernel" not in k}
    result("figures are those of runc", not missing, missing)


MANAGER = """cd $1; z="$2 --root $1/state"
me=$(sed -n s/^0:://p /proc/self/cgroup); g=/sys/fs/cgroup$me
sed "s|GROUP|$me|" config.json.in > config.json
mkdir $g/manager && echo $$ > $g/manager/cgroup.procs && echo +memory +cpu +pids > $g/cgroup.subtree_control
$z run -d z < /dev/null > /dev/null
cat $g/zone/memory.max $g/zone/cpu.max $g/zone/cpu.weight $g/zone/pids.max $g/zone/pids.current
$z pause z; cat $g/zone/cgroup.freeze; $z resume z; $z exec z id -u; $z delete -f z; ls -d $g/zone 2> /dev/null
"""


def delegated():
    """An ordinary user to whom systemd has given groups limits its own zones."""
    subprocess.run(["useradd", "-m", "tester"], stderr=subprocess.DEVNULL)
    uid = int(subprocess.run(["id", "-u", "tester"], capture_output=True, text=True).stdout)
    def look(r):
        mine = os.path.join("/home/tester", r.name)
        shutil.rmtree(mine, ignore_errors=True)
        shutil.copytree(base, mine + "/rootfs", symlinks=True)
        c = sleeping({"memory": {"limit": 64 * MEG}, "cpu": {"quota": 20000, "shares": 333}, "pids": {"limit": 20}})
        c["linux"]["namespaces"].append({"type": "user"})
        for m in ("uidMappings", "gidMappings"):
            c["linux"][m] = [{"containerID": 0, "hostID": uid, "size": 1}]
        for m in c["mounts"]:
            m["options"] = [o for o in m.get("options", []) if o != "gid=5"]
        put(c, "linux.cgroupsPath", "GROUP/zone")
        with open(mine + "/config.json.in", "w") as f:
            json.dump(c, f)
        with open(mine + "/go", "w") as f:
            f.write(MANAGER)
        subprocess.run(["chown", "-R", "tester", mine])
        p = subprocess.run(["systemd-run", "--wait", "--pipe", "-q", "-p", "Delegate=yes", "-p", "User=tester",
                            "sh", mine + "/go", mine, r.words[0]], capture_output=True, text=True, timeout=60)
        return p.stdout
    seen = same("a user's own groups", look)
    result("and are", seen == "67108864\n20000 100000\n13\n20\n1\n1\n0\n", seen)


PARTS = {f.__name__: f for f in (limits, updated, devices, life, hungry, figures, delegated)}
for name in sys.argv[2:] or PARTS:
    try:
        PARTS[name]()
    except Exception as e:
        result(name, False, repr(e))
finish(home)
