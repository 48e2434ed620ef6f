"""Bundles of busybox, and running them by one runtime or the other."""
import copy, itertools, json, os, shutil, subprocess, sys, threading, time

USUAL = {
    "ociVersion": "1.0.0",
    "process": {
        "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/",
        "env": ["PATH=/bin", "HOME=/root"],
        "capabilities": {s: ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]
                         for s in ("bounding", "effective", "permitted")},
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    },
}
# The host's own file system may have no list of version 2 groups: crun refuses a host with both.
ALONE = ["unshare", "-m", "sh", "-c",
         'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh"]
# Only version 2, with what controllers version 1 has left to it (hugetlb here).
TWO = ["unshare", "-m", "sh", "-c",
       'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]


class Runtime:
    def __init__(self, name, words, home):
        self.name, self.words = name, words + ["--root", os.path.join(home, name)]
        self.bundle = os.path.join(home, "bundle-" + name)
        self.rootfs = os.path.join(self.bundle, "rootfs")
        self.count = itertools.count(1)

    def call(self, *words, **more):
        more.setdefault("timeout", 20)
        if words[0] == "create" or "-d" in words:  # a zone keeps what it was given
            said = os.path.join(self.bundle, "stderr-%d" % next(self.count))
            with open(said, "w") as f:
                p = subprocess.run(self.words + list(words), stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.DEVNULL, stderr=f, cwd=self.bundle, **more)
            p.stdout, p.stderr = "", open(said).read()
            return p
        return subprocess.run(self.words + list(words), stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, cwd=self.bundle, **more)

    def prepare(self, base):
        shutil.rmtree(self.bundle, ignore_errors=True)
        shutil.copytree(base, self.rootfs, symlinks=True)

    def write(self, config, name):
        with open(os.path.join(self.bundle, name + ".json"), "w") as f:
            json.dump(config, f)

    def fresh(self):
        return "t%s%d-%d" % (self.name, os.getpid(), next(self.count))

    def run(self, config, *options, **more):
        name = self.fresh()
        self.write(config, name)
        return self.call("run", "-f", name + ".json", *options, name, **more)

    def create(self, config, *options):
        name = self.fresh()
        self.write(config, name)
        r = self.call("create", "-f", name + ".json", *options, name)
        return Zone(self, name, r)


class Zone:
    def __init__(self, runtime, name, made):
        self.runtime, self.name, self.made = runtime, name, made
        self.pid = self.state().get("pid") if made and not made.returncode else None

    def state(self):
        r = self.runtime.call("state", self.name)
        return json.loads(r.stdout) if not r.returncode else {}

    def verb(self, verb, *after, before=()):
        return self.runtime.call(verb, *before, self.name, *after)

    def status(self, want, seconds=10):
        until = time.monotonic() + seconds
        while (s := self.state().get("status")) != want and time.monotonic() < until:
            time.sleep(0.01)
        return s

    def end(self):
        return self.runtime.call("delete", "-f", self.name)


def base_make(path):
    for d in "bin proc dev sys etc tmp root vol old".split():
        os.makedirs(os.path.join(path, d))
    busybox = shutil.which("busybox")
    shutil.copy(busybox, os.path.join(path, "bin/busybox"))
    for a in subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split():
        if a != "busybox":
            os.symlink("busybox", os.path.join(path, "bin", a))
    for name, text in (("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:7:8::/home/u:/bin/sh\n"),
                       ("old/file", "kept\n"), ("etc/secret", "hidden\n")):
        with open(os.path.join(path, name), "w") as f:
            f.write(text)


def config(**process):
    c = copy.deepcopy(USUAL)
    c["process"].update(process)
    return c


def sh(script, **process):
    return config(args=["sh", "-c", script], **process)


def put(c, path, value):
    at = c
    keys = path.split(".")
    for k in keys[:-1]:
        at = at.setdefault(k, {})
    at[keys[-1]] = value
    return c


def mounted(script, *mounts, **process):
    c = sh(script, **process)
    c["mounts"] += list(mounts)
    return c


lock = threading.Lock()
counts = [0, 0]


def result(name, good, words=""):
    with lock:
        counts[not good] += 1
        if not good:
            print("FAIL", name, words)


def finish(home):
    shutil.rmtree(home, ignore_errors=True)
    print("%d passed, %d failed" % tuple(counts))
    sys.exit(counts[1] != 0)
