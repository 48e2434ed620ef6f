#!/usr/bin/env python3
"""The OCI runtime's fields and verbs, each compared with crun; then what only an attacker would do."""
from concurrent.futures import ThreadPoolExecutor
import difflib, fcntl, json, os, re, shutil, socket, struct, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import ALONE, TWO, Runtime, Zone, base_make, config, finish, mounted, put, result, sh

home = tempfile.mkdtemp(prefix="lodge-oci-")
base = os.path.join(home, "base")
base_make(base)
ours = Runtime("ours", [sys.argv[1]], home)
have_crun = shutil.which("crun") is not None
crun = Runtime("crun", ALONE + ["crun"], home)
both = [ours] + ([crun] if have_crun else [])
if not have_crun:
    print("no crun here: nothing to compare with")
for r in both:
    r.prepare(base)


pool = ThreadPoolExecutor(6)  # most of the time is waiting for the kernel's groups
later = []


def spread(fn):
    """Beside others; wait() is for all."""
    def call(*a, **k):
        later.append((a[0], pool.submit(fn, *a, **k)))
    return call


def wait():
    for name, f in later:
        if f.exception():
            result(name, False, repr(f.exception()))
    later.clear()


def tidy(text, runtime):
    text = text.replace(runtime.bundle, "BUNDLE")
    return re.sub(r"t%s[\d-]+" % runtime.name, "ID", text)


def same(name, seen):
    """seen: {runtime name: text}"""
    if len(seen) < 2:
        return result(name, True)
    a, b = seen["crun"], seen["ours"]
    diff = "\n".join(difflib.unified_diff(a.split("\n"), b.split("\n"), "crun", "ours", n=0, lineterm=""))
    result(name, a == b, "\n" + diff)


@spread
def compare(name, make, *options, want=None, drop=None):
    """What it prints and how it ends must be the same."""
    seen = {}
    for r in both:
        c = make(r)
        p = r.run(c, *options)
        text = tidy("%d\n%s" % (p.returncode, p.stdout), r)
        if drop:
            text = "\n".join(l for l in text.split("\n") if not re.search(drop, l))
        seen[r.name] = text
        if r is ours and p.returncode and want is not None:
            text += p.stderr
        if want is not None:
            result(name + ": " + r.name, re.search(want, text, re.M), text + p.stderr)
    same(name, seen)


@spread
def created(name, make, look, started=False):
    """What look(zone) sees from outside of a zone that is created (and started)."""
    seen = {}
    for r in both:
        z = r.create(make(r))
        if z.made.returncode:
            seen[r.name] = "not created: " + z.made.stderr
        else:
            if started:
                z.verb("start")
            seen[r.name] = tidy(str(look(z)), r)
        z.end()
    if "ours" in seen and seen["ours"].startswith("not created"):
        result(name, False, seen["ours"])
    same(name, seen)


def proc(z, file):
    with open("/proc/%d/%s" % (z.pid, file)) as f:
        return f.read()


# ---- process
compare("process.user", lambda r: sh("id -u; id -g; id -G",
        user={"uid": 7, "gid": 8, "additionalGids": [9, 10]}), want=r"8 9 10")
compare("process.user.umask", lambda r: sh("umask", user={"uid": 0, "gid": 0, "umask": 0o27}), want="0027")
compare("process.args", lambda r: config(args=["echo", "a b", "", "c"]), want="a b  c")
compare("process.args of no PATH", lambda r: config(args=["nothing-here"]))
compare("process.env", lambda r: config(args=["env"], env=["PATH=/bin", "A=1", "B=x y", "HOME=/h"]), want="B=x y")
compare("process.env: HOME from passwd", lambda r: config(args=["sh", "-c", "echo $HOME"], env=["PATH=/bin"],
        user={"uid": 7, "gid": 8}), want="/home/u")
compare("process.cwd", lambda r: sh("pwd", cwd="/tmp"), want="/tmp")
compare("process.cwd that is made", lambda r: sh("pwd", cwd="/tmp/not/there"))
compare("process.noNewPrivileges", lambda r: sh("grep NoNewPrivs /proc/self/status", noNewPrivileges=True), want="1$")
compare("exit status", lambda r: sh("exit 42"), want="^42$")
compare("signal as status", lambda r: sh("kill -9 $$"))
caps = ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT"]
for s in ("bounding", "effective", "permitted", "inheritable", "ambient"):
    sets = {k: list(caps) for k in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    sets[s] = caps[:1]
    if s in ("permitted", "inheritable"):
        sets["ambient"] = sets["effective"] = caps[:1]
    if s == "permitted":
        sets["effective"] = caps[:1]
    compare("process.capabilities." + s, lambda r, sets=sets: sh("grep ^Cap /proc/self/status", capabilities=sets))
    compare("process.capabilities.%s of a user" % s, lambda r, sets=sets: sh("grep ^Cap /proc/self/status",
            capabilities=sets, user={"uid": 7, "gid": 8}))
compare("no capabilities", lambda r: sh("grep ^Cap /proc/self/status", capabilities={}), want="CapBnd:\\s0000000000000000")
compare("process.rlimits", lambda r: sh("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/limits", rlimits=[
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 18446744073709551615}]), want="^100$")
created("process.oomScoreAdj", lambda r: sh("sleep 100", oomScoreAdj=300), lambda z: proc(z, "oom_score_adj"), started=True)
compare("stdin, stdout, stderr of a user", lambda r: sh("echo x > /dev/stdout; ls -ln /proc/self/fd/1 | cut -c1-10",
        user={"uid": 7, "gid": 8}))
compare("descriptors", lambda r: sh("ls /proc/self/fd | wc -l"), want="^4$")

# ---- root, names
compare("root.readonly", lambda r: put(sh("touch /x; echo $?"), "root.readonly", True), want="^1$")
compare("root writable", lambda r: sh("touch /tmp/x; echo $?; rm /tmp/x"), want="^0$")
compare("root.path absolute", lambda r: put(sh("cat /old/file"), "root.path", r.rootfs), want="kept")
compare("hostname", lambda r: put(sh("hostname"), "hostname", "zebra"), want="zebra")
compare("domainname", lambda r: put(sh("cat /proc/sys/kernel/domainname"), "domainname", "zoo"), want="zoo")

# ---- namespaces
def namespaces(z):
    out = []
    for n in "cgroup ipc mnt net pid time user uts".split():
        out.append("%s %s" % (n, os.readlink("/proc/%d/ns/%s" % (z.pid, n)) != os.readlink("/proc/self/ns/" + n)))
    return "\n".join(out)
for only in (["pid", "mount"], ["mount", "network", "uts"], ["mount", "ipc", "cgroup", "pid"]):
    created("linux.namespaces " + " ".join(only), lambda r, only=only: put(config(args=["sleep", "100"]), "linux.namespaces",
            [{"type": t} for t in only]), namespaces, started=True)
compare("loopback is up", lambda r: sh("ip addr show lo | grep -c 127.0.0.1"), want="^1$")
holder = subprocess.Popen(["unshare", "-n", "-u", "-i", "sleep", "1000"])
time.sleep(0.2)
def joined(r):
    c = sh("for n in net uts ipc; do readlink /proc/self/ns/$n; done")
    for n in c["linux"]["namespaces"]:
        if n["type"] in ("network", "uts", "ipc"):
            n["path"] = "/proc/%d/ns/%s" % (holder.pid, {"network": "net"}.get(n["type"], n["type"]))
    return c
while os.readlink("/proc/%d/ns/net" % holder.pid) == os.readlink("/proc/self/ns/net"):
    time.sleep(0.01)
compare("linux.namespaces.path", joined, want=re.escape(os.readlink("/proc/%d/ns/net" % holder.pid)))
wait()
holder.kill()
holder.wait()
def mapped(r, script, **process):
    c = sh(script, **process)
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1},
                                 {"containerID": 1, "hostID": 100000, "size": 1000}]
    c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 2000}]
    return c
compare("linux.uidMappings, gidMappings", lambda r: mapped(r, "cat /proc/self/uid_map /proc/self/gid_map; id -u"), want="100000")
compare("user namespace: devices", lambda r: mapped(r, "ls -ln /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /' | cut -c1-40 | grep -v ^l; echo x > /dev/null"))
wait()  # crun gives the host's /dev/null, its input here, to that user
created("user of a user namespace from outside", lambda r: mapped(r, "sleep 100", user={"uid": 5, "gid": 5}),
        lambda z: re.search("Uid:.*", proc(z, "status"))[0], started=True)

# ---- mounts
KEEP = r"sed 's/^[^ ]* on //' | sort"
compare("mounts as usual", lambda r: sh("mount | grep -v ' / ' | " + KEEP))
for o in (["ro"], ["nosuid", "nodev"], ["noexec"], ["noatime"], ["size=1m"], ["mode=700", "nodev"]):
    compare("mounts.options tmpfs " + ",".join(o), lambda r, o=o: mounted("mount | grep ' /vol '; stat -c %a /vol",
            {"destination": "/vol", "type": "tmpfs", "source": "tmpfs", "options": o}))
os.makedirs(os.path.join(home, "src/sub"), exist_ok=True)
with open(os.path.join(home, "src/file"), "w") as f:
    f.write("from outside\n")
for o in (["bind"], ["rbind", "ro"], ["bind", "nosuid", "noexec", "nodev"], ["rbind", "rslave"], ["bind", "private"],
          ["bind", "rw", "noatime"]):
    compare("mounts.options " + ",".join(o), lambda r, o=o: mounted("cat /vol/file; grep ' /vol ' /proc/self/mountinfo | cut -d' ' -f6- | "
            "sed 's/master:[0-9]*/master/;s/shared:[0-9]*/shared/;s/ master//'; touch /vol/sub/x; echo $?",
            {"destination": "/vol", "type": "bind", "source": os.path.join(home, "src"), "options": o}), want="from outside")
compare("mounts: a file", lambda r: mounted("cat /tmp/new/file",
        {"destination": "/tmp/new/file", "type": "bind", "source": os.path.join(home, "src/file"), "options": ["bind"]}), want="from outside")
compare("mounts: a source beside config.json", lambda r: mounted("ls /vol | grep -c bin",
        {"destination": "/vol", "source": "rootfs", "options": ["bind"]}), want="^1$")
compare("mounts: no source", lambda r: mounted("true", {"destination": "/vol", "source": "/not/there", "options": ["bind"]}))
os.symlink("/vol/deep", ours.rootfs + "/link")
result("mounts: a destination through a link to nothing", re.search("^1$", ours.run(mounted("mount | grep -c /vol/deep/x",
       {"destination": "/link/x", "type": "tmpfs", "source": "tmpfs"})).stdout, re.M))
compare("mounts: tmpcopyup", lambda r: mounted("cat /old/file; ls -lnd /old/file | cut -c1-30; touch /old/x; echo $?",
        {"destination": "/old", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}), want="kept")
for p in ("rshared", "rslave", "rprivate", "slave", "private"):
    compare("linux.rootfsPropagation " + p, lambda r, p=p: put(sh("grep ' / / ' /proc/self/mountinfo >/dev/null; "
            "sed -n 's/^[^-]* \\/ [^-]*\\(shared\\|master\\).*/\\1/p' /proc/self/mountinfo | head -1"), "linux.rootfsPropagation", p))
result("mounts: rro", re.search("^1$", ours.run(mounted("touch /vol/x; echo $?", {"destination": "/vol", "source": os.path.join(home, "src"),
       "options": ["rbind", "rro"]})).stdout, re.M))

# ---- devices, masks
DEV = "ls -ln /dev | awk '{print $1,$3,$4,$5,$6,$NF}' | grep -v '^total' | sed 's/ [0-9]* [A-Z][a-z]* / /' | grep -v '^d' | sort"
compare("default devices", lambda r: sh(DEV), drop="core|kcore")
compare("linux.devices", lambda r: put(sh("ls -ln /dev/xx /dev/yy | awk '{print $1,$3,$4,$5,$6}'"), "linux.devices", [
        {"path": "/dev/xx", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/yy", "type": "b", "major": 7, "minor": 1}]), want="crw-r----- 3 4 10")
compare("linux.maskedPaths", lambda r: put(sh("cat /etc/secret | wc -c; ls -A /old | wc -l; touch /old/x; echo $?"),
        "linux.maskedPaths", ["/etc/secret", "/old", "/not/there"]), want="^0$")
compare("linux.readonlyPaths", lambda r: put(sh("touch /old/x; echo $?; cat /old/file; echo 1 > /proc/sys/net/ipv4/ip_forward; echo $?"),
        "linux.readonlyPaths", ["/old", "/proc/sys", "/not/there"]), want="kept")
compare("linux.sysctl", lambda r: put(sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni"), "linux.sysctl",
        {"net.ipv4.ip_forward": "1", "kernel.shmmni": "100"}), want="^100$")
compare("linux.personality", lambda r: put(sh("uname -m"), "linux.personality", {"domain": "LINUX32"}), want="i686")
result("linux.timeOffsets", int(ours.run(put(put(sh("cut -d. -f1 /proc/uptime"), "linux.timeOffsets", {"boottime": {"secs": 100000000, "nanosecs": 0}}),
       "linux.namespaces", [{"type": t} for t in ("pid", "mount", "time")])).stdout or 0) > 100000000)

# ---- control groups
TWO_ALONE = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
NAMES = {"cpu.shares": "cpu.weight", "cpu.cfs_quota_us": "cpu.max", "cpu.cfs_period_us": "cpu.max",
         "memory.limit_in_bytes": "memory.max", "memory.soft_limit_in_bytes": "memory.low",
         "memory.memsw.limit_in_bytes": "memory.swap.max", "blkio.throttle.read_bps_device": "io.max"}
def group(z, controller, file):
    if TWO_ALONE:
        with open("/sys/fs/cgroup%s/%s" % (proc(z, "cgroup").strip()[3:], NAMES.get(file, file))) as f:
            return f.read()
    for line in open("/proc/%d/cgroup" % z.pid):
        n, names, path = line.strip().split(":", 2)
        if controller in names.split(","):
            with open("/sys/fs/cgroup/%s%s/%s" % (names.replace("name=", ""), path, file)) as f:
                return f.read()
for path, value, controller, file in (
        ("cpu.shares", 333, "cpu", "cpu.shares"), ("cpu.quota", 20000, "cpu", "cpu.cfs_quota_us"),
        ("cpu.period", 50000, "cpu", "cpu.cfs_period_us"), ("cpu.cpus", "0", "cpuset", "cpuset.cpus"),
        ("cpu.mems", "0", "cpuset", "cpuset.mems"), ("memory.limit", 64 << 20, "memory", "memory.limit_in_bytes"),
        ("memory.reservation", 32 << 20, "memory", "memory.soft_limit_in_bytes"), ("pids.limit", 77, "pids", "pids.max"),
        ("memory.swappiness", 50, "memory", "memory.swappiness")):
    if TWO_ALONE and path == "memory.swappiness":
        continue
    created("linux.resources." + path, lambda r, path=path, value=value: put(config(args=["sleep", "100"]), "linux.resources." + path, value),
            lambda z, controller=controller, file=file: group(z, controller, file))
created("linux.resources.memory.swap", lambda r: put(config(args=["sleep", "100"]), "linux.resources.memory", {"limit": 64 << 20, "swap": 128 << 20}),
        lambda z: group(z, "memory", "memory.limit_in_bytes") + group(z, "memory", "memory.memsw.limit_in_bytes"))
disk = "%d:%d" % (os.major(os.stat("/").st_dev), os.minor(os.stat("/").st_dev))
created("linux.resources.blockIO.throttleReadBpsDevice", lambda r: put(config(args=["sleep", "100"]), "linux.resources.blockIO",
        {"throttleReadBpsDevice": [dict(major=int(disk.split(":")[0]), minor=int(disk.split(":")[1]), rate=1 << 20)]}),
        lambda z: group(z, "blkio", "blkio.throttle.read_bps_device"))
created("linux.cgroupsPath", lambda r: put(config(args=["sleep", "100"]), "linux.cgroupsPath", "/lodge-oci-test/deep"),
        lambda z: "\n".join(l for l in proc(z, "cgroup").split("\n") if "name=" not in l and not l.startswith("0:")))
if not TWO_ALONE:
    created("linux.resources.devices", lambda r: put(config(args=["sleep", "100"]), "linux.resources.devices",
        [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]),
        lambda z: "c 10:229 rw" in group(z, "devices", "devices.list"))
compare("a device that is not allowed", lambda r: put(put(sh("dd if=/dev/mem of=/tmp/o bs=1 count=1 2>&1 | grep -c 'not permitted'"),
        "linux.devices", [{"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}]), "process.capabilities",
        {s: ["CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"] for s in ("bounding", "effective", "permitted")}), want="^1$")
def with_groups(r, ns):
    c = sh("ls /sys/fs/cgroup; wc -l < /sys/fs/cgroup/memory/cgroup.procs; touch /sys/fs/cgroup/memory/x; echo $?; ls /sys/fs/cgroup/memory | grep -c bundle")
    c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]})
    if ns:
        c["linux"]["namespaces"].append({"type": "cgroup"})
    return c
if not TWO_ALONE:  # see v2.py
    compare("cgroup mount", lambda r: with_groups(r, False), drop="unified|net_")
    compare("cgroup mount in a namespace", lambda r: with_groups(r, True), drop="unified|net_")

# ---- seccomp
def filtered(r, section, script, **process):
    return put(sh(script, **process), "linux.seccomp", section)
for nnp in (True, False):
    compare("linux.seccomp errno, noNewPrivileges %s" % nnp, lambda r, nnp=nnp: filtered(r, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]},
            "mkdir /tmp/q 2>&1; grep ^Secc /proc/self/status", noNewPrivileges=nnp), want="not supported")
compare("linux.seccomp args", lambda r: filtered(r, {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]},
        "kill -10 1 2>&1; kill -0 1; echo $?", noNewPrivileges=True), want="not permitted")
compare("linux.seccomp kill", lambda r: filtered(r, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}]}, "uname; echo $?"), want="159")
result("linux.seccomp defaultErrnoRet", ours.run(filtered(ours, {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}, "true")).returncode)
bad = put(config(args=["true"]), "linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"})
result("linux.seccomp notify without a listener", "listenerPath" in ours.run(bad).stderr)

def notified():
    """An agent that answers each mkdir, and the sending that our own program might do, with an error."""
    path, got = os.path.join(home, "agent.sock"), {}
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(1)
    s.settimeout(20)
    def agent():
        c, _ = s.accept()
        text, fds, _, _ = socket.recv_fds(c, 65536, 1)
        got.update(json.loads(text))
        try:
            while True:  # struct seccomp_notif, struct seccomp_notif_resp
                b = bytearray(80)
                fcntl.ioctl(fds[0], 0xC0502100, b)
                fcntl.ioctl(fds[0], 0xC0182101, struct.pack("<QqiI", struct.unpack_from("<Q", b)[0], 0, -95, 0))
        except OSError:
            pass
    threading.Thread(target=agent, daemon=True).start()
    p = ours.run(put(sh("mkdir /tmp/x 2>&1; echo done"), "linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "listenerMetadata": 'a "b"', "syscalls": [{"names": ["mkdir", "mkdirat", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}]}))
    result("linux.seccomp.listenerPath", "not supported" in p.stdout and "done" in p.stdout, p.stdout + p.stderr)
    result("linux.seccomp.listenerMetadata", got.get("metadata") == 'a "b"' and got["fds"] == ["seccompFd"] and got["state"]["pid"] == got["pid"], got)
notified()

# ---- without root: one id, no control groups
def rootless():
    away = os.path.join(home, "rootless")
    os.chmod(home, 0o755)
    os.makedirs(away)
    shutil.copy(sys.argv[1], away + "/runtime")
    shutil.copytree(base, away + "/rootfs", symlinks=True)
    c = sh("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null")
    c["linux"] = {"namespaces": [{"type": t} for t in ("user", "pid", "ipc", "uts", "mount")],
                  "uidMappings": [{"containerID": 0, "hostID": 12345, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 12345, "size": 1}]}
    c["mounts"][2]["options"].remove("gid=5")
    with open(away + "/config.json", "w") as f:
        json.dump(c, f)
    subprocess.run(["chown", "-R", "12345:12345", away])
    p = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "env", "XDG_RUNTIME_DIR=" + away, away + "/runtime", "run", "r"],
                       cwd=away, stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=20)
    result("rootless", p.stdout.split() == ["0", "0", "12345", "1", "null"], p.stdout + p.stderr)
    result("rootless: groups that are not ours, aloud", "delegated" in p.stderr or not p.stderr, p.stderr)
rootless()

wait()
# ---- hooks
def hooked(r, kind, fails=False):
    log = os.path.join(r.bundle, "hook.log")
    if os.path.exists(log):
        os.unlink(log)
    inside = kind == "startContainer"
    script = "echo %s $A >> %s; cat >> %s" % (kind, "/tmp/hook.log" if inside else log, "/tmp/hook.log" if inside else log)
    return put(sh("echo program; cat /tmp/hook.log 2>/dev/null | grep -o '^[a-zA-Z]* x'; rm -f /tmp/hook.log"), "hooks", {kind: [
        {"path": "/bin/sh", "args": ["sh", "-c", script + ("; exit 3" if fails else "")], "env": ["A=x"] + (["PATH=/bin"] if inside else []), "timeout": 5}]})
for kind in "prestart createRuntime createContainer startContainer poststart poststop".split():
    seen = {}
    for r in both:
        p = r.run(hooked(r, kind))
        log = os.path.join(r.bundle, "hook.log")
        text = open(log).read() if os.path.exists(log) else ""
        state = re.search(r"\{.*\}", text, re.S)
        state = json.loads(state[0]) if state else {}
        seen[r.name] = tidy("%d %s %s %s %s %s" % (p.returncode, p.stdout, text[:text.find("{")], state.get("id"),
                            state.get("bundle"), state.get("pid", 0) > 0), r)
    if kind in ("createContainer", "poststop"):  # crun says nothing useful
        seen = {k: v.replace(" False", " ").replace(" True", " ") for k, v in seen.items()}
    if kind == "poststart":  # the program may have ended by then, which crun does not like
        seen = {k: v[2:] for k, v in seen.items()}
    result("hooks." + kind + " ran", (kind + " x") in seen["ours"], seen["ours"])
    same("hooks." + kind, seen)
for kind in "createRuntime createContainer startContainer".split():
    p = ours.run(hooked(ours, kind, True))
    result("hooks.%s that fails" % kind, p.returncode and "program" not in p.stdout, p.stdout + p.stderr)

# ---- life
def life(r):
    out = []
    z = r.create(put(sh("trap 'exit 9' TERM; echo started; while :; do sleep 0.05; done"), "annotations", {"a": "b"}))
    s = z.state()
    out.append("%s %s %s %s" % (s.get("status"), s.get("annotations"), sorted(set(s) & {"ociVersion", "id", "status", "pid", "bundle"}), s.get("ociVersion")))
    out.append("again: %s" % bool(r.call("create", z.name).returncode))
    out.append("start: %d" % z.verb("start").returncode)
    out.append(str(z.status("running")))
    out.append("start again: %s" % bool(z.verb("start").returncode))
    out.append("delete: %s" % bool(z.verb("delete").returncode))
    x = z.verb("exec", "sh", "-c", "id -u; pwd; echo $X; grep CapEff /proc/self/status; exit 5", before=("-u", "7:8", "-e", "PATH=/bin", "-e", "X=y", "--cwd", "/tmp"))
    out.append("exec: %d %s" % (x.returncode, x.stdout))
    with open(os.path.join(r.bundle, "process.json"), "w") as f:
        json.dump({"args": ["sh", "-c", "id; grep CapPrm /proc/self/status; ulimit -n"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 3, "gid": 4, "additionalGids": [5]},
                   "capabilities": {s: ["CAP_CHOWN"] for s in ("bounding", "effective", "permitted", "inheritable", "ambient")},
                   "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]}, f)
    x = z.verb("exec", before=("--process", os.path.join(r.bundle, "process.json")))
    out.append("exec --process: %d %s" % (x.returncode, x.stdout))
    x = z.verb("exec", "nothing-there")
    out.append("exec of nothing: %s" % bool(x.returncode))
    pidfile = os.path.join(r.bundle, "exec.pid")
    x = z.verb("exec", "sleep", "100", before=("-d", "--pid-file", pidfile))
    pid = int(open(pidfile).read())
    out.append("exec -d: %d %s" % (x.returncode, os.path.exists("/proc/%d" % pid)))
    out.append("ps: %s" % (pid in json.loads(z.verb("ps", before=("--format", "json")).stdout)))
    out.append("pause: %d %s" % (z.verb("pause").returncode, z.state().get("status")))
    out.append("resume: %d %s" % (z.verb("resume").returncode, z.state().get("status")))
    out.append("update: %d" % z.verb("update", before=("--memory", str(100 << 20), "--cpu-share", "200", "--pids-limit", "30")).returncode)
    out.append(group(z, "memory", "memory.limit_in_bytes") + group(z, "cpu", "cpu.shares") + group(z, "pids", "pids.max"))
    with open(os.path.join(r.bundle, "resources.json"), "w") as f:
        json.dump({"cpu": {"quota": 30000, "period": 60000}, "pids": {"limit": 40}}, f)
    out.append("update -r: %d" % z.verb("update", before=("-r", os.path.join(r.bundle, "resources.json"))).returncode)
    out.append(group(z, "cpu", "cpu.cfs_quota_us") + group(z, "pids", "pids.max"))
    out.append("kill: %d" % z.verb("kill", "TERM").returncode)
    out.append(str(z.status("stopped")))
    out.append("kill again: %s" % bool(z.verb("kill", "TERM").returncode))
    out.append("exec: %s" % bool(z.verb("exec", "true").returncode))
    path = "/sys/fs/cgroup/%s/%s" % ("" if TWO_ALONE else "memory", z.name)
    out.append("delete: %d %s" % (z.verb("delete").returncode, bool(z.state())))
    return tidy("\n".join(out), r)
same("life", dict(zip([r.name for r in both], pool.map(life, both))))
seen = {}

for r in both:
    z = r.create(config(args=["sleep", "100"]))
    seen[r.name] = "%s %d %s" % (z.state().get("status"), z.end().returncode, z.state())
same("delete -f of what is created", seen)
for r in both:
    z = r.create(config(args=["sleep", "100"]))
    z.verb("start")
    z.verb("pause")
    seen[r.name] = "%d %s" % (z.end().returncode, z.state())
same("delete -f of what is paused", seen)
for r in both:
    name = r.fresh()
    r.write(config(args=["sleep", "100"]), name)
    waits = subprocess.Popen(r.words + ["run", "-f", name + ".json", name], cwd=r.bundle, stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    z = Zone(r, name, None)
    z.status("running")
    z.end()  # either may be the one that removes it
    seen[r.name] = "%d %s" % (waits.wait(20), z.state())
same("delete -f of what run waits for", seen)
def events():
    z = ours.create(sh("while :; do :; done"))
    z.verb("start")
    e = json.loads(z.verb("events", before=("--stats",)).stdout)
    z.end()
    return e["type"] == "stats" and e["data"]["memory"]["usage"]["usage"] > 0 and e["data"]["pids"]["current"] == 1
result("events --stats", events())
result("features", {"create", "cgroup"} and json.loads(ours.call("features").stdout)["linux"]["seccomp"]["enabled"])
log = os.path.join(home, "log.json")
ours.call("--log", log, "--log-format", "json", "state", "not-there")
last = json.loads(open(log).read().strip().split("\n")[-1])
result("--log json", last["level"] == "error" and "does not exist" in last["msg"] and "T" in last["time"], last)

# A first process that has gone to a group of its own, as systemd does: exec goes there, too.
if os.path.ismount("/sys/fs/cgroup/unified"):
    c = sh("mkdir /sys/fs/cgroup/unified/in && echo 1 > /sys/fs/cgroup/unified/in/cgroup.procs && touch /tmp/moved; exec sleep 100")
    c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    c["linux"]["namespaces"].append({"type": "cgroup"})
    z = ours.create(c)
    z.verb("start")
    until = time.monotonic() + 10
    while not os.path.exists(ours.rootfs + "/tmp/moved") and time.monotonic() < until:
        time.sleep(0.01)
    p = z.verb("exec", "grep", "^0::", "/proc/self/cgroup")
    result("exec into a zone whose group has others below", p.stdout == "0::/in\n", p.stdout + p.stderr)
    result("delete with groups below", not z.end().returncode and not z.state())
p = ours.run(sh("ls / | grep -c bin; grep -c ' / / ' /proc/self/mountinfo"), "--no-pivot")
result("--no-pivot", p.stdout.split()[:1] == ["1"], p.stdout + p.stderr)
p = ours.run(config(args=["true"]), "--no-new-keyring", "--no-subreaper")
result("--no-new-keyring", not p.returncode, p.stderr)
p = subprocess.run([ours.words[0], "--systemd-cgroup"] + ours.words[1:] + ["run", "-f", "systemd.json", ours.fresh()], cwd=ours.bundle,
                   capture_output=True, text=True, timeout=20) if not ours.write(put(sh("cat /proc/self/cgroup"), "linux.cgroupsPath",
                   "lodge-test.slice:oci:%d" % os.getpid()), "systemd") else None
result("--systemd-cgroup", "without systemd" in p.stderr and "/lodge-test.slice/oci-%d.scope" % os.getpid() in p.stdout, p.stdout + p.stderr)

# ---- version 2 alone
def two(r):
    """The same runtime where only version 2 is mounted."""
    other = Runtime(r.name, TWO + r.words[len(ALONE) if r is crun else 0:-2], home)
    other.count = r.count
    return other
twos = [two(r) for r in both]
def beside(name, see):
    same(name, dict(zip([r.name for r in twos], pool.map(lambda r: tidy(see(r), r), twos))))
def group_fs(*options):
    c = sh("cat /proc/self/cgroup | grep ^0; ls /sys/fs/cgroup/cgroup.procs; touch /sys/fs/cgroup/x 2>/dev/null; echo $?; mount | grep -c cgroup2")
    c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": list(options)})
    c["linux"]["namespaces"].append({"type": "cgroup"})
    del c["linux"]["resources"]
    return c
beside("version 2: mount", lambda r: r.run(group_fs("ro", "nosuid")).stdout)
rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}]
DEVICES = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}, {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
p = twos[0].run(put(put(sh("for d in fuse kmsg null zero; do (: < /dev/$d) 2>/dev/null; echo $d $?; "
              "(: > /dev/$d) 2>/dev/null; echo $d $?; done"), "linux.resources.devices", rules), "linux.devices", DEVICES))
# Here crun may not raise the limit that it wants to load such a program with.
result("version 2: devices", "fuse 0\nfuse 1\nkmsg 1\nkmsg 1\nnull 0" in p.stdout, p.stdout + p.stderr)
def limited(r):
    z = r.create(put(config(args=["sleep", "100"]), "linux.resources", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}))
    z.verb("start")
    path = "/sys/fs/cgroup/unified" + [l for l in proc(z, "cgroup").split("\n") if l.startswith("0::")][0][3:]
    out = [open(path + "/hugetlb.2MB.max").read()]
    out += [z.verb("pause").returncode, z.state().get("status"), open(path + "/cgroup.freeze").read(), z.verb("resume").returncode]
    out += [z.verb("exec", "true").returncode, z.verb("pause").returncode, z.end().returncode, os.path.exists(path), os.path.exists("/proc/%d" % z.pid)]
    return str(out)
if os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers") and "hugetlb" in open("/sys/fs/cgroup/unified/cgroup.controllers").read():
    beside("version 2: limits, pause, delete of what is paused", limited)
p = twos[0].run(put(config(args=["true"]), "linux.resources.memory", {"limit": 1 << 26}))
if not TWO_ALONE:
    result("version 2: a controller that the host has not", not p.returncode and "no control group memory" in p.stderr, p.stderr)

# ---- terminals
def console(r, verb):
    path = os.path.join(r.bundle, "c.sock")
    if os.path.exists(path):
        os.unlink(path)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen(1)
    s.settimeout(10)
    got = []
    def take():
        c, _ = s.accept()
        msg, fds, _, _ = socket.recv_fds(c, 100, 1)
        text = b""
        try:
            while b"end" not in text and (b := os.read(fds[0], 1000)):
                text += b
        except OSError:
            pass
        os.close(fds[0])
        got.append(text.decode().split("end")[0])  # what comes with it is chance
    t = threading.Thread(target=take)
    t.start()
    script = "tty; stty size; ls -ln /dev/console | cut -c1; readlink /proc/self/fd/0; echo end; sleep 0.3"
    if verb == "run":
        r.run(sh(script, terminal=True, consoleSize={"height": 11, "width": 22}), "--console-socket", path)
    else:
        z = r.create(config(args=["sleep", "100"]))
        z.verb("start")
        z.verb("exec", "sh", "-c", script, before=("-t", "--console-socket", path))
        z.end()
    t.join(12)
    s.close()
    return got[0] if got else ""
for verb in ("run", "exec"):
    same("process.terminal, " + verb, {r.name: console(r, verb) for r in both})
result("process.consoleSize", "11 22" in console(ours, "run"))

for d in os.listdir("/sys/fs/cgroup"):
    for name in ("lodge-oci-test", "lodge-test.slice"):
        try:
            os.rmdir("/sys/fs/cgroup/%s/%s" % (d, name))
        except OSError:
            pass
finish(home)
