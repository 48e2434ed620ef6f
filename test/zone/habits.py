"""What podman and the suites of other runtimes rely on beyond the specification: ours, and crun where
it does the same. Argument: the runtime."""
import json, os, shutil, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import ALONE, Runtime, base_make, config, finish, put, result, sh

home = tempfile.mkdtemp(prefix="lodge-habits-")
base = os.path.join(home, "base")
base_make(base)
ours = Runtime("ours", [sys.argv[1]], home)
both = [ours] + ([Runtime("crun", ALONE + ["crun"], home)] if shutil.which("crun") else [])
for r in both:
    r.prepare(base)


def gives(name, make, want, runtimes=both, **more):
    """Exit code and output, of each."""
    for r in runtimes:
        p = r.run(make(r), **more)
        seen = "%d %s" % (p.returncode, p.stdout)
        result("%s: %s" % (name, r.name), seen == want, seen + p.stderr)


gives("a capability that no kernel has", lambda r: put(sh("echo on"), "process.capabilities.bounding",
      ["CAP_KILL", "CAP_MOON"]), "0 on\n")
gives("a folder to be made, of a root that is read-only", lambda r: put(
      sh("pwd", cwd="/new%s/one" % r.name), "root.readonly", True), "0 /newours/one\n", [ours])


def dev_read_only(r):
    c = sh("test -c /dev/null && echo x > /dev/null && touch /dev/x")
    next(m for m in c["mounts"] if m["destination"] == "/dev")["options"].append("ro")
    return c
gives("/dev read-only", dev_read_only, "1 ")

gives("sockets for the program", lambda r: sh("echo $LISTEN_FDS $LISTEN_PID"), "0 1 1\n", [ours],
      env=dict(os.environ, LISTEN_FDS="1"))


def keeping(groups):
    p = subprocess.run(ours.words + ["run", "-f", "kept.json", ours.fresh()], cwd=ours.bundle, text=True,
                       capture_output=True, stdin=subprocess.DEVNULL, extra_groups=groups)
    return p.stdout
c = sh("id -G")
ours.write(put(c, "annotations", {"run.oci.keep_original_groups": "1"}), "kept")
result("groups that stay", keeping([11, 12]).split() == ["0", "11", "12"], keeping([11, 12]))
del c["annotations"]
ours.write(c, "kept")
result("groups that do not", keeping([11, 12]).split() == ["0"], keeping([11, 12]))

gives("kernel.hostname by another name", lambda r: put(config(), "linux.sysctl", {"kernel.hostname": "x"}), "1 ")


def hooked(r, kind, hook):
    hook = dict({"path": "/bin/sh"}, args=["sh", "-c", hook.pop("do")], **hook)
    return put(sh("cat /tmp/said; rm -f /tmp/said"), "hooks", {kind: [hook]})
says = lambda r: 'echo "$MOON" > %s/tmp/said' % r.rootfs
gives("a hook without env", lambda r: hooked(r, "createRuntime", {"do": says(r)}), "0 full\n",
      env=dict(os.environ, MOON="full"))
gives("a hook with an empty one", lambda r: hooked(r, "createRuntime", {"do": says(r), "env": []}), "0 \n", [ours],
      env=dict(os.environ, MOON="full"))
gives("a hook that is the zone's own", lambda r: hooked(r, "startContainer",
      {"do": '/bin/echo "$MOON" > /tmp/said'}), "0 \n", [ours], env=dict(os.environ, MOON="full"))
gives("its rights", lambda r: hooked(r, "startContainer",
      {"do": "/bin/grep CapEff /proc/self/status > /tmp/said"}), "0 CapEff:\t00000000000000e1\n")
for kind, status in (("prestart", "created"), ("createRuntime", "creating")):
    gives(kind + " is told", lambda r: hooked(r, kind, {
        "do": "tr -d ' ' | tr ',' '\\n' | grep -o 'status.*' > %s/tmp/said" % r.rootfs}), '0 status":"%s"\n' % status, [ours])

# ---- groups that were there before
freezer = next((d for d in ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup") if
                os.path.exists(d + "/cgroup.procs")), None)
two = freezer == "/sys/fs/cgroup"
own = "lodge-habits-%d" % os.getpid()
folder = os.path.join(freezer, own)
os.mkdir(folder)


def freeze(on):
    with open(folder + ("/cgroup.freeze" if two else "/freezer.state"), "w") as f:
        f.write(str(int(on)) if two else ("FROZEN" if on else "THAWED"))
other = subprocess.Popen(["sleep", "1000"])
try:
    with open(folder + "/cgroup.procs", "w") as f:
        f.write(str(other.pid))
    freeze(True)
    within = lambda *args: put(config(args=list(args)), "linux.cgroupsPath", "/" + own)
    p = ours.run(within("true"))
    result("a frozen group", p.returncode == 1 and "frozen" in p.stderr, p.stderr)
    freeze(False)
    result("who is in a frozen group", other.poll() is None)
    p = ours.run(within("nothing-here"))
    result("a group with others", p.returncode == 1 and "not empty" in p.stderr, p.stderr)
    result("who is in it", other.poll() is None)
finally:
    freeze(False)
    other.kill()
    other.wait()
    os.rmdir(folder)
left = [d for d in os.listdir("/sys/fs/cgroup") if os.path.exists("/sys/fs/cgroup/%s/%s" % (d, own))]
result("groups of zones that failed", left == [], left)

# ---- exec
z = ours.create(config(args=["sleep", "1000"]))
z.verb("start")
x = lambda *words, before=(): (lambda p: "%d %s" % (p.returncode, p.stdout))(z.verb("exec", *words, before=before))
result("exec of nothing", x("nothing-here") == "255 ", x("nothing-here"))
result("exec --cap of none", x("echo", "on", before=("--cap", "CAP_MOON")) == "0 on\n")
got = x("id", "-G", before=("-u", "7:8", "--additional-gids", "9", "--additional-gids", "10"))
result("exec --additional-gids", got == "0 8 9 10\n", got)
got = x("true", before=("--cgroup", "../x"))
result("exec --cgroup that leads up", got == "255 ", got)
got = x("true", before=("--cgroup", "nowhere"))
result("exec --cgroup that is not there", got == "255 ", got)
group = next(l.split(":")[2] for l in open("/proc/%d/cgroup" % z.pid).read().split() if
             (l.startswith("0::") if two else ":freezer:" in l))
below = freezer + group + "/below"
os.mkdir(below)
got = x("cat", "/proc/self/cgroup", before=("--cgroup", "below" if two else "freezer:below"))
result("exec --cgroup", group + "/below" in got, got)
os.rmdir(below)

for size, want in (("33554432", 0), ("32M", 0), ("32m", 0), ("1x", 1), ("M", 1), ("99999999999T", 1)):
    p = z.verb("update", before=("--memory", size))
    result("update --memory " + size, p.returncode == want, p.stderr)
z.verb("update", before=("--memory", "32M", "--memory-swap", "64M"))
p = z.verb("update", before=("--memory", "-1"))
result("update --memory -1 with swap", p.returncode == 0, p.stderr)
take, give = os.pipe()
os.write(give, json.dumps({"args": ["echo", "from a pipe"], "cwd": "/"}).encode())
os.close(give)
p = subprocess.run(ours.words + ["exec", "--process", "/dev/fd/%d" % take, z.name], text=True, capture_output=True,
                   pass_fds=[take], stdin=subprocess.DEVNULL)
result("exec --process of a descriptor", p.stdout == "from a pipe\n", p.stderr)
watch = subprocess.Popen(ours.words + ["events", "--interval", "100s", z.name], stdout=subprocess.PIPE)
result("events", json.loads(watch.stdout.readline())["type"] == "stats")
z.verb("pause")
late = subprocess.Popen(ours.words + ["exec", "--ignore-paused", z.name, "echo", "late"], stdout=subprocess.PIPE)
time.sleep(0.2)
result("exec into what is paused waits", late.poll() is None)
z.verb("resume")
result("until it goes on", late.communicate(timeout=20)[0] == b"late\n")
with open(os.path.join(ours.bundle, "limits.json"), "w") as f:
    json.dump({"args": ["echo", "on"], "cwd": "/", "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]}, f)
p = z.verb("exec", before=("--process", "limits.json"))
result("exec with a limit that cannot be given", p.stdout == "on\n" and "cut to" in p.stderr, p.stdout + p.stderr)
names = ours.call("list", "-q").stdout.split()
result("list is sorted", z.name in names and names == sorted(names), names)
z.verb("kill", "KILL")
try:
    watch.communicate(timeout=20)
    result("events end with it", True)
except subprocess.TimeoutExpired:
    watch.kill()
    result("events end with it", False)
z.end()

hungry = ours.create(put(sh("for i in 1 2 3; do (x=$(head -c 200m /dev/zero | tr '\\0' x); echo ${#x}); sleep 0.2; done; sleep 1000"),
                         "linux.resources.memory", {"limit": 32 << 20}))
watch = subprocess.Popen(ours.words + ["events", "--interval", "100s", hungry.name], stdout=subprocess.PIPE, text=True)
result("events begin", '"stats"' in watch.stdout.readline())
hungry.verb("start")
timer = threading.Timer(30, watch.kill)
timer.start()
told = next((l for l in watch.stdout if '"oom"' in l), "")
timer.cancel()
result("events tell of memory that ran out", told == '{"type":"oom","id":"%s"}\n' % hungry.name, told)
hungry.verb("kill", "KILL")
watch.communicate(timeout=20)
hungry.end()

c = config()
del c["process"]
p = ours.run(c)
result("no process", p.returncode == 1 and "process" in p.stderr, (p.returncode, p.stderr))

# ---- what only an attacker would have
for name in ("proc", "sys", "dev"):
    at = os.path.join(ours.rootfs, name)
    os.rename(at, at + ".old")
    os.symlink("tmp", at)
    p = ours.run(config())
    result("/%s that is a link" % name, p.returncode == 1 and "ordinary directory" in p.stderr, p.stderr)
    os.unlink(at)
    os.rename(at + ".old", at)
finish(home)
