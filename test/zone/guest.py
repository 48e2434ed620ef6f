"""Zones as guests: run, and the verbs of kept guests."""
import hashlib, json, os, shutil, subprocess, sys, tarfile, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, tree_tar, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)


def leftovers():
    """Control groups and folders of zones that are not there."""
    groups = [os.path.join(d, n) for d, names, _ in os.walk("/sys/fs/cgroup") for n in names
              if n.startswith("lodge-zone-unnamed-%d" % os.getpid())]
    store = os.path.join(work, "store", "guests")
    return groups + [n for n in os.listdir(store) if n.startswith("unnamed-")]


def foreground(l):
    c.gives(l.call("run", "box", "sh", "-c", "exit 7"), 7)
    c.gives(l.call("run", "--kind", "zone", "box", "echo", "-n", "a b"), 0, "a b")
    p = l.call("run", "box", "sh", "-c", "echo out; echo err >&2")
    c.gives(p, 0, "out\n")
    c.same(p.err, "err\n", "errors are apart")
    c.gives(l.call("run", "box", "cat", input=b"typed\n"), 0, "typed\n")
    big = os.urandom(3 << 20)
    p = l.call("run", "box", "cat", input=big)
    c.check(p.stdout == big, "three million bytes there and back", (len(p.stdout), p.err))
    p = l.call("run", "box", "nosuch")
    c.gives(p, 127)
    c.check("nosuch" in p.err, "which program there is not", p.err)
    c.gives(l.call("run", "box", "/etc/passwd"), 126)
    c.gives(l.call("run", "box", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137)
    c.gives(l.call("run", "nosuchimage", "true"), 125)
    shown, code = l.terminal("run", "box", "sh", "-c", "tty; stty size; exit 5")
    c.check("/dev/pts/0" in shown and code == 5, "on a terminal", (shown, code))
    c.same(leftovers(), [], "nothing is left")


def words(l):
    c.gives(l.call("run", "-e", "A=b c", "-w", "/tmp", "-u", "joe", "box", "sh", "-c",
                   "echo $A $FROM $HOME; pwd; id"), 0,
            "b c image /home/joe\n/tmp\nuid=1000(joe) gid=1000(joe) groups=6(disk)\n")
    c.gives(l.call("run", "-u", "12:34", "box", "sh", "-c", "id -u; id -g"), 0, "12\n34\n")
    c.gives(l.call("run", "-u", "nosuch", "box", "true"), 125)
    c.gives(l.call("run", "--entrypoint", "/bin/echo", "box", "x"), 0, "x\n")
    c.gives(l.call("run", "--hostname", "inn", "box", "cat", "/etc/hostname", "/proc/sys/kernel/hostname"),
            0, "inn\ninn\n")
    l.import_box("entry", Entrypoint=["/bin/echo", "hello"], Cmd=["world"], WorkingDir="/data",
                 User="joe", StopSignal="SIGUSR1")
    c.gives(l.call("run", "entry"), 0, "hello world\n")
    c.gives(l.call("run", "entry", "you"), 0, "hello you\n")
    c.gives(l.call("run", "--entrypoint", "", "entry", "sh", "-c", "pwd; id -u"), 0, "/data\n1000\n")
    c.gives(l.call("run", "box", "--no-such-option"), 127)
    c.gives(l.call("run", "-m", "bad", "box", "true"), 125)


def inside(l):
    """What a zone sees, and that it is held."""
    status = l.call("run", "box", "cat", "/proc/self/status").out
    c.check("NoNewPrivs:\t1" in status, "no new privileges", status)
    c.check("Seccomp:\t2" in status, "a filter", status)
    c.check("CapBnd:\t00000000800405fb" in status, "few capabilities", status)
    p = l.call("run", "box", "cat", "/proc/self/uid_map").out.split()
    c.check(p[0] == "0" and int(p[1]) >= 524288 and p[2] == "65536", "ids of its own", p)
    p = l.call("run", "--userns", "host", "box", "cat", "/proc/self/uid_map").out.split()
    c.same(p[:2], ["0", "0"], "or the host's, if that is asked for")
    p = l.call("run", "box", "sh", "-c", "stat -c %u /etc/joe-only /etc/passwd; touch /new; stat -c %u /new")
    c.gives(p, 0, "1000\n0\n0\n")
    p = l.call("run", "box", "readlink", "/proc/self/exe")
    c.same(p.out, "/bin/busybox\n", "its program is its own")


def kept(l):
    c.gives(l.call("run", "-d", "--name", "z", "box", "sh", "-c",
                   "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"), 0, "z\n")
    about = json.loads(l.call("inspect", "z").out)[0]
    c.same((about["kind"], about["state"]), ("zone", "running"), "inspect")
    c.check(" up " in l.call("ps").out, "ps")
    c.check(until(lambda: "up" in l.call("logs", "z").out), "logs")
    c.gives(l.call("exec", "z", "sh", "-c", "id -u; echo $FROM; exit 4"), 4, "0\nimage\n")
    c.gives(l.call("exec", "-i", "-u", "joe", "-w", "/tmp", "-e", "B=c", "z", "sh", "-c",
                   "cat; id -u; pwd; echo $B", input=b"in\n"), 0, "in\n1000\n/tmp\nc\n")
    c.gives(l.call("exec", "z", "nosuch"), 127)
    groups = l.call("exec", "z", "cat", "/proc/self/cgroup").out.split()
    c.check(groups and all(g.endswith(":/") for g in groups), "a session's control groups are the zone's", groups)
    c.gives(l.call("shell", "z", input=b"echo in a shell; exit 6\n"), 6, "in a shell\n")
    shown, code = l.terminal("exec", "-it", "z", "sh", "-c", "tty; stty size; exit 5")
    c.check("30 90" in shown and code == 5, "exec on a terminal", (shown, code))
    there, back = os.path.join(work, "there"), os.path.join(work, "back")
    open(there, "w").write("carried\n")
    c.gives(l.call("cp", there, "z:/data/f"), 0)
    c.gives(l.call("cp", "z:/data/f", back), 0)
    c.same(open(back).read(), "carried\n", "cp there and back")
    c.gives(l.call("pause", "z"), 0)
    c.check("paused" in l.call("ps").out, "paused")
    c.gives(l.call("resume", "z"), 0)
    c.gives(l.call("stop", "z"), 0)
    c.gives(l.call("wait", "z"), 0, "3\n")
    c.check("bye" in l.call("logs", "z").out, "it was asked to end")
    c.gives(l.call("rename", "z", "y"), 0)
    c.gives(l.call("start", "y"), 0)
    c.gives(l.call("exec", "y", "cat", "/data/f"), 0, "carried\n", "what it wrote is kept")
    c.gives(l.call("kill", "y"), 0)
    c.gives(l.call("wait", "y"), 0, "137\n")
    c.gives(l.call("rm", "y"), 0)
    c.gives(l.call("run", "-d", "--rm", "--name", "gone", "entry"), 0)
    c.check(until(lambda: not os.path.exists(os.path.join(work, "store/guests/gone"))), "--rm")


def typed(l):
    c.gives(l.call("run", "-dit", "--name", "t", "box", "sh"), 0)
    p = subprocess.Popen([l.program, "attach", "t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env=l.env)
    p.stdin.write(b"echo $((6*7)); exit 9\n")
    p.stdin.flush()
    out = p.communicate(timeout=60)[0].decode()
    c.check("42" in out and p.returncode == 9, "attach", (out, p.returncode))
    c.gives(l.call("rm", "t"), 0)
    c.gives(l.call("run", "-dt", "--name", "t", "box", "sh", "-c",
                   "while [ \"$(stty size)\" != '30 90' ]; do sleep 0.1; done; exit 6"), 0)
    shown, code = l.terminal("attach", "t")
    c.check(code == 6, "attach tells how large the terminal is", (shown, code))
    c.gives(l.call("rm", "t"), 0)


def killed(l):
    """Whoever is killed, nothing of the zone lives on."""
    c.gives(l.call("run", "-d", "--name", "k", "box", "sleep", "987654"), 0)
    pid = json.loads(l.call("inspect", "k").out)[0]["pid"]
    os.kill(pid, 9)
    gone = lambda: not subprocess.run(["pgrep", "-f", "sleep 987654"], capture_output=True).stdout
    c.check(until(gone), "the monitor was killed: the zone ends")
    c.gives(l.call("start", "k"), 0)
    c.gives(l.call("rm", "-f", "k"), 0)
    c.check(until(gone), "and is removed")


def ended(l):
    """A zone in whose sessions something is left is ended as any, many times."""
    for i in range(8):
        c.gives(l.call("run", "-d", "--name", "s", "box", "sleep", "1000"), 0)
        waits = [subprocess.Popen([l.program, "exec", "s", "sleep", "1000"], env=l.env, stderr=subprocess.DEVNULL)
                 for _ in range(4)]
        c.check(until(lambda: l.call("exec", "s", "pidof", "sleep").out.count(" ") >= 4), "sessions run")
        c.gives(l.call("kill", "s"), 0)
        c.gives(l.call("rm", "s"), 0, "s\n", "a zone with sessions ends")
        for w in waits:
            w.wait(30)


def disk(l):
    """An image of a computer, with a file system on its disk, as a zone; its init, too."""
    tree, raw = os.path.join(work, "tree"), os.path.join(work, "disk.raw")
    os.mkdir(tree)
    tree_tar(tree + ".tar")
    with tarfile.open(tree + ".tar") as t:
        t.extractall(tree)
    os.mkdir(os.path.join(tree, "sbin"))
    init = os.path.join(tree, "sbin", "init")
    open(init, "w").write("#!/bin/sh\ntrap 'exit 5' 37\nfor d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/own.slice; done\n"
                          "touch /run/up\nwhile :; do sleep 0.1; done\n")
    os.chmod(init, 0o755)
    if subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, raw, "32M"]).returncode:
        return print("no mke2fs: not tried")
    sum_ = hashlib.sha256(open(raw, "rb").read()).hexdigest()
    store = os.path.join(work, "store")
    shutil.copy(raw, os.path.join(store, "blobs/sha256", sum_))
    os.mkdir(os.path.join(store, "images/pc"))
    arch = {"x86_64": "amd64"}.get(os.uname().machine, os.uname().machine)
    json.dump({"version": 1, "name": "pc", "arch": arch, "kind": "vm", "created": 0,
               "disk": {"sha256": sum_, "size": os.path.getsize(raw), "format": "raw"}},
              open(os.path.join(store, "images/pc/%s.json" % arch), "w"))
    c.gives(l.call("run", "--kind", "zone", "pc", "sh", "-c", "echo new > /root/f; cat /root/f; stat -c %u /etc/joe-only"),
            0, "new\n1000\n", "a disk's files")
    c.gives(l.call("run", "-d", "--kind", "zone", "--name", "pc", "pc"), 0)
    c.check(until(lambda: l.call("exec", "pc", "test", "-e", "/run/up").returncode == 0), "its init runs")
    c.check("own.slice" in l.call("exec", "pc", "sh", "-c", "ls -d /sys/fs/cgroup/own.slice /sys/fs/cgroup/*/own.slice").out,
            "and may make groups of its own")
    c.gives(l.call("stop", "-t", "60", "pc"), 0)
    c.gives(l.call("wait", "pc"), 0, "5\n", "stopped as an init wants it")
    c.gives(l.call("rm", "pc"), 0)
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
    c.check(until(lambda: sum_ not in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout),
            "its loop device goes", loops)


def old_kernels(l):
    """As where overlayfs and idmapped mounts could less: by another word for the version."""
    old = Lodge(l.home, ["setarch", "--uname-2.6"])
    p = old.call("run", "box", "sh", "-c", "cat /proc/self/uid_map; touch /new && stat -c %u /new /etc/joe-only")
    c.check(p.returncode == 0 and p.out.split()[:2] == ["0", "0"] and p.out.endswith("\n0\n1000\n"),
            "an old kernel: the host's ids", (p.out, p.err))
    c.check("6.15" in p.err, "and that is said", p.err)
    # where mounts are shared, as systemd has them
    shared = Lodge(l.home, ["unshare", "-m", "--propagation", "shared", "setarch", "--uname-2.6"])
    c.gives(shared.call("run", "box", "echo", "on shared mounts"), 0, "on shared mounts\n")


def rootless():
    """An ordinary user with lent ids, and without."""
    name = "lodge-zone-t"
    subprocess.run(["userdel", "-r", name], capture_output=True)
    if subprocess.run(["useradd", "-m", "-d", os.path.join(work, "user"), name]).returncode:
        return print("no user can be made here: not tried")
    try:
        l = Lodge(os.path.join(work, "user"),
                  ["setpriv", "--reuid", name, "--regid", name, "--init-groups"])
        l.program = os.path.join(work, "lodge")
        shutil.copy(os.environ["LODGE"], l.program)
        c.gives(l.import_box(), 0)
        p = l.call("run", "--net", "none", "box", "sh", "-c",
                   "id -u; touch /home/joe/x && stat -c %u /new /home/joe/x 2>/dev/null; exit 7")
        c.gives(p, 7, None, "a user's zone")
        c.gives(l.call("run", "-d", "--net", "none", "--name", "r", "box", "sleep", "1000"), 0)
        c.gives(l.call("exec", "-u", "joe", "r", "sh", "-c", "touch /tmp/mine; stat -c %u /tmp/mine"),
                0, "1000\n")
        c.gives(l.call("kill", "r"), 0)
        c.gives(l.call("rm", "r"), 0, "r\n", "files of lent ids are removed")
        c.gives(l.call("run", "--userns", "host", "box", "true"), 125)
        old = Lodge(l.home, l.before + ["setarch", "--uname-2.6"])
        old.program = l.program
        c.gives(old.call("run", "--net", "none", "box", "sh", "-c", "touch /new && stat -c %u /new; exit 8"), 8,
                "0\n", "a user's zone, on an old kernel")
        for f in "/etc/subuid", "/etc/subgid":
            lines = [x for x in open(f) if not x.startswith(name + ":")]
            open(f, "w").writelines(lines)
        c.gives(l.call("run", "--net", "none", "box", "sh", "-c", "id -u; cat /proc/self/uid_map"),
                0, None, "a single id")
    finally:
        subprocess.run(["userdel", "-r", name], capture_output=True)


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in foreground, words, inside, kept, typed, killed, ended, disk, old_kernels:
        part(l)
    rootless()
finally:
    l.end()
c.end()
