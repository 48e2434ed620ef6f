#!/usr/bin/env python3
"""What a hostile image, volume or config.json would try: after the holes that other runtimes had."""
import hashlib, os, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import Runtime, base_make, config, finish, mounted, put, result, sh

home = tempfile.mkdtemp(prefix="lodge-oci-")
base = os.path.join(home, "base")
base_make(base)
ours = Runtime("ours", [sys.argv[1]], home)
ours.prepare(base)
outside = os.path.join(home, "outside")
os.makedirs(outside)
evil = os.path.join(home, "evil")


def image():
    """A root file system of its own to spoil."""
    shutil.rmtree(evil, ignore_errors=True)
    shutil.copytree(base, evil, symlinks=True)
    return evil


def at(c, root=evil):
    return put(c, "root.path", root)


def refused(name, c, *words, untouched=True):
    p = ours.run(at(c), *words)
    result(name, p.returncode and (not untouched or not os.listdir(outside)), "%d %s %s" % (p.returncode, p.stdout, p.stderr))
    return p


# CVE-2019-5736: what a zone finds as /proc/self/exe is no file of the host's, and cannot be written to
image()
digest = lambda path: hashlib.sha256(open(path, "rb").read()).digest()
before = digest(sys.argv[1])
with open(evil + "/bin/self", "w") as f:
    f.write("#!/proc/self/exe\n")
shutil.copy("/bin/true", evil + "/bin/loads-self")  # a dynamic program, whose loader it then is
with open(evil + "/bin/loads-self", "r+b") as f:
    elf = f.read()
    f.seek(elf.index(b"/lib64/ld-linux-x86-64.so.2\0"))
    f.write(b"/proc/self/exe\0")
os.chmod(evil + "/bin/self", 0o755)
for program in ("/bin/self", "/bin/loads-self", "/proc/self/exe", "/proc/thread-self/exe"):
    for caps in ([], ["CAP_SYS_PTRACE"]):
        c = config(args=[program])
        c["process"]["capabilities"]["bounding"] += caps
        try:
            code = ours.run(at(c)).returncode
        except subprocess.TimeoutExpired:
            code = "no end"
        result("%s as a program, %s" % (program, caps or "usual capabilities"), code != "no end" and (code or caps), code)
result("the runtime is what it was", digest(sys.argv[1]) == before)
z = ours.create(at(sh("exec sleep 100")))
z.verb("start")
result("what runs is the zone's own", os.readlink("/proc/%d/exe" % z.pid) == "/bin/busybox", os.readlink("/proc/%d/exe" % z.pid))
z.end()
# Where others of the zone could look at the waiting process it is a sealed copy.
c = sh("sleep 100")
c["process"]["capabilities"]["bounding"] += ["CAP_SYS_PTRACE"]
z = ours.create(at(c))
exe = "/proc/%d/exe" % z.pid
host = os.stat(sys.argv[1])
mine = os.stat(exe)
result("the program in the zone is a copy", (mine.st_dev, mine.st_ino) != (host.st_dev, host.st_ino))
try:
    os.open(exe, os.O_WRONLY)
    result("the copy cannot be opened for writing", False)
except OSError as e:
    result("the copy cannot be opened for writing", True)
result("a waiting zone has no files of the host's", not [f for f in os.listdir("/proc/%d/fd" % z.pid) if int(f) > 2 and
       not os.readlink("/proc/%d/fd/%s" % (z.pid, f)).startswith("socket:")])
z.end()

# CVE-2021-30465, 2019-19921: destinations that are links
image()
shutil.rmtree(evil + "/vol")
os.symlink(outside, evil + "/vol")
c = mounted("mkdir -p /vol/made; ls " + outside, {"destination": "/vol/x", "type": "tmpfs", "source": "tmpfs"})
p = ours.run(at(c))
result("a link for a destination stays inside", not os.listdir(outside), p.stderr)
image()
shutil.rmtree(evil + "/vol")
os.symlink("../../../../../../../../.." + outside, evil + "/vol")
p = ours.run(at(mounted("true", {"destination": "/vol/y", "source": "/etc", "options": ["bind"]})))
result("dots in a link for a destination stay inside", not os.listdir(outside), p.stderr)

# The same as a race: somebody swaps a folder of a shared volume for a link all the time
shared = os.path.join(home, "shared")
os.makedirs(shared + "/a/b", exist_ok=True)
os.symlink(outside, shared + "/link")
swap = subprocess.Popen([sys.executable, "-c", """
import ctypes, os
l = ctypes.CDLL(None)
a, b = b"%s/a", b"%s/link"
while True:
    l.renameat2(-100, a, -100, b, 2)
""" % (shared, shared)])
image()
for i in range(12):
    ours.run(at(mounted("true", {"destination": "/vol", "source": shared, "options": ["rbind"]},
                        {"destination": "/vol/a/made", "type": "tmpfs", "source": "tmpfs"})))
swap.kill()
swap.wait()
result("a race of a volume's folder with a link", not os.listdir(outside), os.listdir(outside))

# CVE-2024-21626: folders and descriptors of the host's
for n in range(3, 12):
    p = ours.run(at(sh("pwd", cwd="/proc/self/fd/%d" % n)))
    if not p.returncode:
        break
result("process.cwd by a descriptor", p.returncode, p.stdout)
fd = os.open("/etc", os.O_RDONLY)
os.dup2(fd, 9, inheritable=True)
p = ours.run(at(sh("ls /proc/self/fd")), pass_fds=(9,))
result("a caller's descriptor does not come in", "9" not in p.stdout.split(), p.stdout)
p = ours.run(at(sh("ls /proc/self/fd/9/passwd")), "--preserve-fds", "7", pass_fds=tuple(range(3, 3)) + (9,))
result("--preserve-fds of what is not open", p.returncode)
for n in range(3, 9):
    os.dup2(fd, n, inheritable=True)
p = ours.run(at(sh("ls -d /proc/self/fd/9/passwd")), "--preserve-fds", "7", pass_fds=tuple(range(3, 10)))
result("--preserve-fds", "passwd" in p.stdout, p.stderr)
for n in range(3, 10):
    try:
        os.close(n)
    except OSError:
        pass

# CVE-2025-31133: a mask must not be the zone's own null device
image()
os.makedirs(evil + "/volume")
c = put(mounted("cat /etc/secret | wc -c; cat /etc/passwd | head -c 4", {"destination": "/dev", "source": evil + "/volume", "options": ["bind"]}),
        "linux.maskedPaths", ["/etc/secret"])
os.symlink("/etc/passwd", evil + "/volume/null")
p = ours.run(at(c))
result("a mask by the zone's null", p.stdout.startswith("0\n"), p.stdout + p.stderr)

# CVE-2026-41579, 2026-47766: /dev of the image is a link
image()
os.rmdir(evil + "/dev")
os.symlink(outside, evil + "/dev")
c = at(config(args=["true"]))
c["mounts"] = [m for m in c["mounts"] if not m["destination"].startswith("/dev")]
p = refused("/dev that is a link", c)
result("/dev that is a link, in words", "/dev" in p.stderr, p.stderr)

# CVE-2025-52881: a procfs of the zone's making must not take our sysctls
image()
fake = os.path.join(home, "fake")
os.makedirs(fake + "/sys/net/ipv4", exist_ok=True)
with open(fake + "/sys/net/ipv4/ip_forward", "w") as f:
    f.write("untouched")
c = put(mounted("true"), "linux.sysctl", {"net.ipv4.ip_forward": "1"})
c["mounts"] = [m for m in c["mounts"] if m["destination"] != "/proc"] + [{"destination": "/proc", "source": fake, "options": ["bind"]}]
p = ours.run(at(c))
result("a false procfs", open(fake + "/sys/net/ipv4/ip_forward").read() == "untouched" and not p.returncode, p.stderr)

# crun 1.29: control groups
image()
for path in ("/../../tmp/x", "a/../../../x", ".."):
    refused("linux.cgroupsPath " + path, put(config(args=["true"]), "linux.cgroupsPath", path))
refused("linux.resources.unified out of its folder", put(config(args=["true"]), "linux.resources.unified", {"../cgroup.procs": "1"}))
refused("linux.resources.hugepageLimits out of its folder", put(config(args=["true"]), "linux.resources.hugepageLimits",
        [{"pageSize": "../../x", "limit": 1}]))
p = ours.run(at(put(sh("mkdir /sys/fs/cgroup/memory/x; echo $?"), "mounts", config()["mounts"] +
             [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}])))
result("read-only control groups", p.stdout.strip() == "1", p.stdout + p.stderr)

# CVE-2022-27650: exec gives no inheritable capabilities; CVE-2026-30892: -u is read strictly
z = ours.create(at(sh("sleep 100")))
z.verb("start")
p = z.verb("exec", "grep", "CapInh", "/proc/self/status", before=("--cap", "CAP_NET_RAW"))
result("exec: nothing inheritable", p.stdout.split()[-1:] == ["0000000000000000"], p.stdout + p.stderr)
for u in ("1x:2y", "-1", "4294967295", "1:", "root", " 1", ""):
    result("exec -u '%s'" % u, z.verb("exec", "id", before=("-u", u)).returncode)
p = z.verb("exec", "sh", "-c", "ls /proc/self/fd | wc -l; readlink /proc/1/exe; ls /proc | grep -c '^[0-9]'")
result("exec: descriptors and processes", p.stdout.split()[:1] == ["4"] and "lodge" not in p.stdout, p.stdout)
z.end()

# names
for n in ("../evil", "a/b", "", ".", "..", ".x", "a b", "x" * 300):
    result("a zone called '%s'" % n[:20], ours.call("state", n).returncode and ours.call("create", n).returncode and not os.path.exists(os.path.join(home, "evil-zone")))
refused("a sysctl of the host's", put(config(args=["true"]), "linux.sysctl", {"kernel.core_pattern": "|/x"}))
c = put(config(args=["true"]), "linux.sysctl", {"net.ipv4.ip_forward": "1"})
c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "network"]
refused("a sysctl of the host's network", c)
refused("a sysctl with dots", put(config(args=["true"]), "linux.sysctl", {"net.../../kernel.core_pattern": "x"}))

# config.json that is wrong in one place each
for path, value in (("ociVersion", "2.0.0"), ("ociVersion", 1), ("process.args", []), ("process.cwd", "tmp"), ("process.user", {"uid": -1, "gid": 0}),
                    ("process.user", {"uid": 1 << 32, "gid": 0}), ("process.env", "x"),
                    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
                    ("process.oomScoreAdj", 5000), ("root", {}), ("hostname", "x" * 100), ("linux.namespaces", [{"type": "moon"}]),
                    ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}, {"type": "mount"}]), ("linux.namespaces", []),
                    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}]), ("linux.rootfsPropagation", "sideways"),
                    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NO"}), ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["X"]}),
                    ("linux.resources.memory", {"limit": "1"}), ("linux.resources.cpu", {"cpus": "99-100"}), ("linux.devices", [{"path": "x", "type": "c"}]),
                    ("linux.devices", [{"path": "/dev/x", "type": "q"}]), ("hooks", {"prestart": [{"path": "relative"}]}), ("mounts", [{"type": "tmpfs"}]),
                    ("mounts", [{"destination": "/x", "type": "no-such-fs"}]), ("linux.personality", {"domain": "PLAN9"})):
    c = at(config(args=["true"]))
    p = ours.run(put(c, path, value))
    result("%s: %s" % (path, str(value)[:40]), p.returncode, p.stdout + p.stderr)
    result("%s: in words" % path, path.split(".")[0] in p.stderr or path.split(".")[-1] in p.stderr, p.stderr)
ours_left = [d for d in os.listdir(os.path.join(home, "ours")) if not d.startswith(".")]
result("nothing is left of what failed", not ours_left, ours_left)
left = [d for d in os.listdir("/sys/fs/cgroup/memory") if d.startswith("tours%d-" % os.getpid())]
result("no control group is left", not left, left)
finish(home)
