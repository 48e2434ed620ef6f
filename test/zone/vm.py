"""Containers in computers of their own: run --kind vm, images of another CPU, hostile images."""
import hashlib, json, os, shutil, signal, socket, subprocess, sys, tarfile, tempfile, time
sys.path.insert(0, os.path.dirname(__file__))
from zones import BUSYBOX, Count, LODGE, Lodge, add, tree_tar, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-vm-")
os.chmod(work, 0o755)
NATIVE = {"x86_64": "amd64"}.get(os.uname().machine, os.uname().machine)
VM = ("run", "--kind", "vm", "--net", "none")


def builtin(l, arch):
    """The built-in guest from the usual store, made there if need be."""
    subprocess.run([LODGE, "image", "build", "--arch", arch, "linux"], check=True, capture_output=True)
    usual = os.environ.get("LODGE_HOME") or "/var/lib/lodge"
    store = os.path.join(l.home, "store")
    manifest = os.path.join("images/linux", arch + ".json")
    os.makedirs(os.path.join(store, "images/linux"), exist_ok=True)
    os.makedirs(os.path.join(store, "blobs/sha256"), exist_ok=True)
    shutil.copy(os.path.join(usual, manifest), os.path.join(store, manifest))
    about = json.load(open(os.path.join(usual, manifest)))
    for part in "kernel", "initrd":
        blob = os.path.join("blobs/sha256", about[part]["sha256"])
        if os.path.exists(os.path.join(store, blob)):
            continue
        try:
            os.link(os.path.join(usual, blob), os.path.join(store, blob))
        except OSError:
            shutil.copy(os.path.join(usual, blob), os.path.join(store, blob))


def image(l, name, layers, arch=NATIVE, **config):
    """An image of these layers: functions that fill a tar."""
    folder = tempfile.mkdtemp(dir=work)
    os.chmod(folder, 0o755)
    ids = []
    for i, fill in enumerate(layers):
        path = os.path.join(folder, "layer%d.tar" % i)
        with tarfile.open(path, "w") as t:
            fill(t)
        ids.append("sha256:" + hashlib.sha256(open(path, "rb").read()).hexdigest())
    archive = os.path.join(folder, "image.tar")
    texts = {"config.json": {"architecture": arch, "os": "linux", "config": config,
                             "rootfs": {"type": "layers", "diff_ids": ids}},
             "manifest.json": [{"Config": "config.json", "RepoTags": [name + ":latest"],
                                "Layers": ["layer%d.tar" % i for i in range(len(layers))]}]}
    with tarfile.open(archive, "w") as t:
        for file, text in texts.items():
            add(t, file, json.dumps(text).encode())
        for i in range(len(layers)):
            t.add(os.path.join(folder, "layer%d.tar" % i), "layer%d.tar" % i)
    c.gives(l.call("image", "import", archive, name), 0)


def box(t):
    """busybox alone, with an applet or two."""
    add(t, "bin", mode=0o755, kind=tarfile.DIRTYPE)
    add(t, "bin/busybox", open(BUSYBOX, "rb").read(), 0o755)
    for name in "sh", "ls", "cat", "stat", "readlink", "id", "mount", "echo", "touch":
        add(t, "bin/" + name, kind=tarfile.SYMTYPE, link="busybox")


def left():
    guests = os.path.join(work, "store/guests")
    return [g for g in os.listdir(guests) if g != ".gone"] if os.path.exists(guests) else []


def foreground(l):
    p = l.call(*VM, "box", "sh", "-c", "uname -r; echo $$; cat >&2; echo $A $FROM $HOME; hostname; exit 7",
               input=b"typed\n")
    kernel = os.uname().release
    c.gives(p, 7)
    out = p.out.split("\n")
    c.check(len(out) == 5 and out[0] != kernel, "a kernel of its own", (p.out, kernel))
    c.same(out[1:4], ["1", "image /root", "lodge"], "first process, environment, name")
    c.same(p.err, "typed\n", "errors are apart, input comes")
    big = os.urandom(3 << 20)
    p = l.call(*VM, "box", "cat", input=big)
    c.check(p.stdout == big, "three million bytes there and back", (len(p.stdout), p.err))
    p = l.call(*VM, "box", "nosuch")
    c.gives(p, 127)
    c.check("nosuch" in p.err, "which program there is not", p.err)
    c.gives(l.call(*VM, "box", "/etc/passwd"), 126)
    c.gives(l.call(*VM, "-u", "nosuch", "box", "true"), 125)
    shown, code = l.terminal(*VM, "box", "sh", "-c", "tty; stty size; kill -9 0; exit 5")
    c.check("/dev/pts/0" in shown and "30 90" in shown, "on a terminal", (shown, code))
    p = l.call(*VM, "-e", "A=b c", "-w", "/made/here", "-u", "joe", "--hostname", "inn", "box", "sh", "-c",
               "echo $A $HOME; pwd; id; cat /etc/hostname /proc/sys/kernel/hostname")
    c.gives(p, 0, "b c /home/joe\n/made/here\nuid=1000(joe) gid=1000(joe) groups=6(disk)\ninn\ninn\n")
    for words in ["--pids-limit", "5"], ["--userns", "host"], ["--kernel", "x"], ["--storage", "64M"], \
            ["-v", "/etc/passwd:/f"]:
        c.gives(l.call("run", "--kind", "vm", *words, "box", "true"), 125)
    c.gives(l.call("run", "--kind", "vm", "box", "x" * 20000), 125)
    c.same(left(), [], "nothing is left")


def kept(l):
    shared, ro = os.path.join(work, "shared dir"), os.path.join(work, "ro")
    for d in shared, ro:
        os.mkdir(d)
        open(os.path.join(d, "f"), "w").write("from here\n")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    c.gives(l.call("run", "-d", "--kind", "vm", "--name", "k", "-m", "256M", "-c", "2", "-v", shared + ":/a b/c",
                   "-v", ro + ":/ro:ro", "-v", "data:/data/vol", "-p", "%d:7000" % port, "box", "sh", "-c",
                   "trap 'echo bye; exit 3' TERM; (while :; do echo served | nc -l -p 7000; done) & "
                   "echo up; while :; do sleep 0.1; done"), 0, "k\n")
    about = json.loads(l.call("inspect", "k").out)[0]
    c.same((about["kind"], about["state"]), ("vm", "running"), "inspect")
    c.check(until(lambda: "up" in l.call("logs", "k").out), "logs")
    c.gives(l.call("exec", "k", "sh", "-c", "id -u; echo $FROM; tr '\\0' ' ' </proc/1/cmdline | cut -c 1-5; exit 4"),
            4, "0\nimage\nsh -c\n", "exec is in the container")
    c.gives(l.call("exec", "-i", "-u", "joe", "-w", "/tmp", "-e", "B=c", "k", "sh", "-c",
                   "cat; id -u; pwd; echo $B", input=b"in\n"), 0, "in\n1000\n/tmp\nc\n")
    c.gives(l.call("exec", "k", "sh", "-c", "cat '/a b/c/f'; echo back >'/a b/c/g'; cat /ro/f; "
                   "echo x >/ro/g || echo refused; nproc; sync"), 0, "from here\nfrom here\nrefused\n2\n", "shares")
    c.same(open(os.path.join(shared, "g")).read(), "back\n", "a shared folder is written to")
    memory = int(l.call("exec", "k", "sed", "-n", "s/MemTotal: *\\([0-9]*\\).*/\\1/p", "/proc/meminfo").out)
    c.check(100000 < memory < 262144, "-m is its memory", memory)

    def served():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                return s.recv(100) == b"served\n"
        except OSError:
            return False
    c.check(until(served), "a published port")
    c.gives(l.call("shell", "k", input=b"echo in a shell; exit 6\n"), 6, "in a shell\n")
    there, back = os.path.join(work, "there"), os.path.join(work, "back")
    open(there, "w").write("carried\n")
    c.gives(l.call("cp", there, "k:/data/f"), 0)
    c.gives(l.call("cp", "k:/data/f", back), 0)
    c.same(open(back).read(), "carried\n", "cp there and back")
    c.gives(l.call("pause", "k"), 0)
    c.check("paused" in l.call("ps").out, "paused")
    c.gives(l.call("resume", "k"), 0)
    c.check("k" in l.call("stats", "--no-stream", "k").out, "stats")
    for words in ["snapshot", "k", "s"], ["clone", "k", "k2"]:
        c.gives(l.call(*words), 125)
    c.gives(l.call("stop", "-t", "60", "k"), 0)
    c.gives(l.call("wait", "k"), 0, "3\n", "it was asked to end")
    c.check("bye" in l.call("logs", "k").out, "and said so")
    c.gives(l.call("start", "k"), 0)
    c.gives(l.call("exec", "k", "sh", "-c", "cat /data/f; echo more >/data/g; sync"), 0, "carried\n",
            "what it wrote is kept")
    # Power fails: what was synced is there.
    os.kill(json.loads(l.call("inspect", "k").out)[0]["pid"], signal.SIGKILL)
    c.check(until(lambda: "up" not in l.call("ps").out.split()), "its monitor was killed")
    c.gives(l.call("start", "k"), 0)
    c.gives(l.call("exec", "k", "cat", "/data/g"), 0, "more\n", "also after its monitor was killed")
    c.gives(l.call("kill", "k"), 0)
    c.gives(l.call("wait", "k"), 0, "137\n")
    c.gives(l.call("rm", "k"), 0)


def foreign(l):
    """An image for a CPU that this machine does not have."""
    other, cc = ("riscv64", "riscv64-linux-gnu-gcc") if NATIVE == "amd64" else ("amd64", "x86_64-linux-gnu-gcc")
    if not shutil.which(cc):
        return print("no %s: not tried" % cc)
    builtin(l, other)
    source, program = os.path.join(work, "p.c"), os.path.join(work, "p")
    open(source, "w").write('#include <stdio.h>\n#include <stdlib.h>\n#include <sys/utsname.h>\n'
                            'int main(int n, char **a) { struct utsname u; uname(&u); '
                            'printf("%s %s\\n", u.machine, a[1]); return atoi(a[2]); }\n')
    subprocess.run([cc, "-static", "-o", program, source], check=True)
    image(l, "other", [lambda t: add(t, "p", open(program, "rb").read(), 0o755)], other, Entrypoint=["/p"])
    p = l.call("run", "--net", "none", "other", "hello", "9")
    c.gives(p, 9, {"riscv64": "riscv64", "amd64": "x86_64"}[other] + " hello\n", "a program of another CPU")
    c.check("for %s" % other in p.err and p.err.count("\n") == 1, "and that is said, in a line", p.err)
    p = l.call("run", "--arch", other, "--kind", "vm", "--net", "none", "other", "again", "8")
    c.gives(p, 8)
    c.same(p.err, "", "who asked for it is not told")
    c.gives(l.call("run", "--kind", "zone", "other", "x", "0"), 125)


def layered(l):
    """Several layers, and what the upper ones take away."""
    def first(t):
        box(t)
        for d in "gone", "opaque", "opaque/sub":
            add(t, d, mode=0o755, kind=tarfile.DIRTYPE)
        for f in "gone/f", "opaque/f", "file":
            add(t, f, b"old\n")
        add(t, "suid", b"", 0o4755, uid=7)
    def second(t):
        for f in ".wh.gone", ".wh.file", "opaque/.wh..wh..opq":
            add(t, f, b"")
        add(t, "opaque/new", b"new\n")
    image(l, "two", [first, second], Cmd=["sh", "-c", "ls / /opaque; stat -c '%a %u' /suid; touch /gone"])
    p = l.call(*VM, "two")
    c.gives(p, 0, "/:\nbin\ndev\netc\nopaque\nproc\nsuid\nsys\n\n/opaque:\nnew\n4755 7\n")


def hostile(l):
    """Images that lead somewhere else, or nowhere: nothing of this machine is reached."""
    def links(t):
        box(t)
        for d in "proc", "sys":
            add(t, d, kind=tarfile.SYMTYPE, link="../../../bin")
        add(t, "etc", kind=tarfile.SYMTYPE, link="/lower/../upper")
        add(t, "out", kind=tarfile.SYMTYPE, link="/../../../../../../work")
    image(l, "links", [links])
    marker = os.path.join(work, "marker")
    os.mkdir(marker)
    # /proc and /sys lead to /bin, where nothing is any more then; but it is the guest's own.
    p = l.call(*VM, "-v", marker + ":/out/x", "links", "sh", "-c", "exit 3")
    c.check(p.returncode in (125, 126, 127), "links for /proc: in words", (p.returncode, p.out, p.err))
    c.same(os.listdir(marker), [], "nothing came to be here")

    def places(t):
        box(t)
        add(t, "dev", b"no folder\n")
    image(l, "places", [places])
    p = l.call(*VM, "places", "true")
    c.check(p.returncode == 125 and "/dev" in p.err, "a file where /dev has to be: in words", (p.returncode, p.err))

    def volume(t):
        box(t)
        add(t, "data", kind=tarfile.SYMTYPE, link="/bin/../../../../place")
        add(t, "place", mode=0o755, kind=tarfile.DIRTYPE)
    image(l, "volume", [volume])
    p = l.call(*VM, "-v", marker + ":/data/sub", "volume", "sh", "-c", "echo in >/place/sub/f; cat /place/sub/f")
    c.gives(p, 0, "in\n", "a link in a volume's place stays inside")
    c.same(open(os.path.join(marker, "f")).read(), "in\n", "and the volume is there")
    image(l, "bare", [lambda t: add(t, "f", b"")])
    c.gives(l.call(*VM, "bare", "/f"), 126)
    c.gives(l.call(*VM, "bare", "sh"), 127)
    c.gives(l.call(*VM, "bare"), 125)
    # What ends the computer before the program ends is not its end.
    c.gives(l.call(*VM, "box", "reboot", "-f"), 129, "", "as it is in any world of processes")
    p = l.call(*VM, "box", "sh", "-c", "echo b >/proc/sysrq-trigger; sleep 1000")
    c.check(p.returncode == 125 and "before its program ended" in p.err, "it began anew", (p.returncode, p.err))
    # The agent, the root's own process, the folder of the image: from inside, by root.
    p = l.call(*VM, "box", "sh", "-c", "mount -t virtiofs root /mnt 2>/dev/null || mkdir -p /mnt && mount -t virtiofs root /mnt; "
               "touch /mnt/new; rm -rf /mnt/bin; echo /mnt/*")
    c.check("/mnt/bin" in p.out and "/mnt/new" not in p.out, "the layers are nobody's to change", (p.out, p.err))
    c.gives(l.call(*VM, "box", "cat", "/etc/joe-only"), 0, "joe\n", "and are as they were")


def ends(l):
    """Two at once; and whoever is killed, nothing lives on."""
    def start(n):
        return subprocess.Popen([LODGE, *VM, "box", "sh", "-c", "echo %d; exec sleep 98765" % n], env=l.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    two = [start(1), start(2)]
    c.same([p.stdout.readline() for p in two], [b"1\n", b"2\n"], "two at once")

    def family(pid):
        out, todo = [], [pid]
        while todo:
            p = todo.pop()
            out.append(p)
            try:
                for t in os.listdir("/proc/%d/task" % p):
                    todo += [int(x) for x in open("/proc/%d/task/%s/children" % (p, t)).read().split()]
            except OSError:
                pass
        return out

    def alive(pid):
        try:
            return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    all_of = [family(p.pid) for p in two]
    c.check(len(all_of[0]) > 1, "there are servers beside it", all_of)
    two[0].send_signal(signal.SIGKILL)
    two[0].wait()
    c.check(until(lambda: not any(map(alive, all_of[0]))), "killed, and all of it gone", all_of[0])
    two[1].send_signal(signal.SIGTERM)  # which the first process of a container need not heed
    time.sleep(0.5)
    two[1].send_signal(signal.SIGTERM)
    c.same(two[1].wait(30), 143, "the second signal ends it")
    c.check(until(lambda: not any(map(alive, all_of[1]))), "and all of it is gone", all_of[1])
    c.same(left(), [], "and nothing is left in the store")
    early = start(3)
    time.sleep(0.2)
    early.send_signal(signal.SIGTERM)
    c.same(early.wait(30), 143, "asked to end before its program runs")


def agentless(l):
    """A built-in guest that has no agent panics, and is not begun again and again."""
    manifest = os.path.join(l.home, "store/images/linux", NATIVE + ".json")
    was = open(manifest).read()
    nothing = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"", capture_output=True, check=True).stdout
    digest = hashlib.sha256(nothing).hexdigest()
    open(os.path.join(l.home, "store/blobs/sha256", digest), "wb").write(nothing)
    about = json.loads(was)
    about["initrd"] = {"sha256": digest, "size": len(nothing)}
    json.dump(about, open(manifest, "w"))
    p = l.call(*VM, "box", "true")
    open(manifest, "w").write(was)
    c.check(p.returncode == 125 and "before its program ran" in p.err, "no agent: in words", (p.returncode, p.err))


def bundles(l):
    """lodge-oci, as podman calls it: the bundle's own computer."""
    oci = os.path.join(os.path.dirname(LODGE), "lodge-oci")
    if os.geteuid():
        return print("not root: not tried")
    bundle, root = os.path.join(work, "bundle"), os.path.join(work, "oci")
    rootfs = os.path.join(bundle, "rootfs")
    os.makedirs(rootfs)
    os.makedirs(root)
    tree_tar(bundle + ".tar")
    with tarfile.open(bundle + ".tar") as t:
        t.extractall(rootfs)
    bound = os.path.join(work, "bound")
    os.mkdir(bound)
    open(os.path.join(bound, "f"), "w").write("bound\n")
    usual = {
        "ociVersion": "1.0.0", "hostname": "inn", "root": {"path": "rootfs"},
        "annotations": {"org.lodge.kind": "vm"},
        "process": {"user": {"uid": 5, "gid": 6}, "cwd": "/data", "env": ["PATH=/bin", "A=b c"], "args": []},
        "mounts": [{"destination": "/proc", "type": "proc"},
                   {"destination": "/bound", "type": "bind", "source": bound, "options": ["rbind", "ro"]},
                   {"destination": "/etc/one", "type": "bind", "source": bound + "/f", "options": ["bind"]},
                   {"destination": "/small", "type": "tmpfs", "options": ["size=1m"]}],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
                  "resources": {"memory": {"limit": 300 << 20}, "cpu": {"quota": 150000, "period": 100000}}}}

    def write(args, **more):
        spec = json.loads(json.dumps(usual))
        spec["process"].update(args=args, **more.pop("process", {}))
        spec.update(more)
        json.dump({k: v for k, v in spec.items() if v is not None}, open(os.path.join(bundle, "config.json"), "w"))

    def call(*words, input=b"", before=(), **more):
        kept = words[0] == "create" or "-d" in words
        p = subprocess.run([*before, oci, "--root", root, *words], input=input, cwd=bundle, env=l.env, timeout=60,
                           stdout=open(os.path.join(work, "o"), "wb") if kept else subprocess.PIPE,
                           stderr=open(os.path.join(work, "e"), "wb") if kept else subprocess.PIPE, **more)
        p.out = open(os.path.join(work, "o")).read() if kept else p.stdout.decode()
        p.err = open(os.path.join(work, "e")).read() if kept else p.stderr.decode()
        return p

    write(["sh", "-c", "id; pwd; echo $A; hostname; cat /bound/f /etc/one; touch /bound/x; cat >&2; nproc; uname -r; exit 7"])
    p = call("run", "c1", input=b"typed\n")
    lines = p.out.split("\n")
    c.gives(p, 7)
    c.same(lines[:7], ["uid=5 gid=6(disk)", "/data", "b c", "inn", "bound", "bound", "2"], "process and mounts")
    c.check(os.uname().release not in p.out, "with a kernel of its own", p.out)
    c.check("typed" in p.err and "/bound/x" in p.err, "streams are apart", p.err)
    write(["sh", "-c", "echo new >/data/new; cat /etc/f || exit 4"], root={"path": "rootfs", "readonly": True},
          process={"user": {"uid": 0, "gid": 0}}, annotations=None, vm={"kernel": {"path": "/boot/x"}})
    c.gives(call("run", "c1"), 4, "", "an object vm; a root that is read-only")
    c.check(not os.path.exists(os.path.join(rootfs, "data/new")), "nothing was written")
    write(["nosuch"])
    c.gives(call("run", "c1"), 127)
    write(["true"], hooks={"poststop": [{"path": "/bin/true"}]})
    p = call("run", "c1")
    c.check(p.returncode == 1 and "hooks" in p.err, "what cannot be had is refused", p.err)

    write(["sh", "-c", "trap 'echo got; exit 9' USR1; echo made >/data/made; echo up; while :; do sleep 0.1; done"],
          process={"user": {"uid": 0, "gid": 0}})
    state = lambda: json.loads(call("state", "c2").out)
    c.gives(call("create", "--pid-file", os.path.join(work, "pid"), "c2"), 0)
    c.same((state()["status"], str(state()["pid"])), ("created", open(os.path.join(work, "pid")).read()), "created")
    c.gives(call("exec", "c2", "true"), 125)
    c.gives(call("start", "c2"), 0)
    c.same(state()["status"], "running", "started")
    c.gives(call("exec", "-e", "B=1", "--cwd", "/tmp", "-u", "7:8", "c2", "sh", "-c", "id; pwd; echo $B; cat; exit 5",
                 input=b"in\n"), 5, "uid=7 gid=8\n/tmp\n1\nin\n")
    json.dump({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "args": ["cat", "/proc/1/comm"]},
              open(os.path.join(work, "process.json"), "w"))
    c.gives(call("exec", "--process", os.path.join(work, "process.json"), "c2"), 0, "sh\n")
    p = call("exec", "c2", "touch", "/bound/x")
    c.check("Read-only" in p.err, "a mount is read-only", p.err)
    c.gives(call("pause", "c2"), 0)
    c.same(state()["status"], "paused", "paused")
    c.gives(call("resume", "c2"), 0)
    c.same(state()["status"], "running", "resumed")
    for words in ["ps", "c2"], ["events", "--stats", "c2"], ["update", "--memory", "100000000", "c2"]:
        p = call(*words)
        c.check(p.returncode == 1 and "computer" in p.err, "refused in words: " + words[0], p.err)
    c.check(call("delete", "c2").returncode != 0, "what runs is not deleted")
    c.gives(call("kill", "c2", "USR1"), 0)
    c.check(until(lambda: state()["status"] == "stopped"), "its signal ended it")
    c.check("got" in open(os.path.join(work, "o")).read(), "and came to it")
    c.gives(call("delete", "c2"), 0)
    c.same(open(os.path.join(rootfs, "data/made")).read(), "made\n", "what it wrote is in the bundle")
    c.gives(call("create", "c3"), 0)
    c.gives(call("start", "c3"), 0)
    c.gives(call("delete", "-f", "c3"), 0)
    c.same((os.listdir(root), left()), ([], []), "killed, and nothing is left")
    # A root that leads elsewhere.
    os.symlink("/../../../../../../" + work.lstrip("/") + "/nowhere", os.path.join(rootfs, "away"))
    write(["true"], mounts=usual["mounts"] + [{"destination": "/away/x", "type": "bind", "source": bound, "options": ["bind"]}])
    call("run", "c4")
    c.check(not os.path.exists(os.path.join(work, "nowhere")), "a link of the root's stays inside")
    write(["true"])
    shutil.rmtree(os.path.join(rootfs, "dev"), ignore_errors=True)
    os.symlink("/../../../.." + work, os.path.join(rootfs, "dev"))
    p = call("run", "c5")
    c.check(p.returncode == 1 and "/dev" in p.err, "/dev that is a link", (p.returncode, p.err))
    c.same((os.listdir(root), left()), ([], []), "nothing is left")


def rootless(l):
    """An ordinary user: the layers as one folder need a namespace of his own."""
    name = "lodge-vm-t"
    subprocess.run(["userdel", "-r", name], capture_output=True)
    if os.geteuid() or subprocess.run(["useradd", "-m", "-d", os.path.join(work, "user"), name]).returncode:
        return print("no user can be made here: not tried")
    try:
        u = Lodge(os.path.join(work, "user"), ["setpriv", "--reuid", name, "--regid", name, "--init-groups"])
        u.program = os.path.join(work, "lodge")
        shutil.copy(LODGE, u.program)
        os.makedirs(os.path.join(u.home, "store"))
        builtin(u, NATIVE)
        subprocess.run(["chown", "-R", name, u.home], check=True)
        image(u, "two", [box, lambda t: (add(t, "bin/.wh.stat", b""), add(t, "new", b"new\n"))])
        c.gives(u.call(*VM, "two", "sh", "-c", "cat /new; echo x >/bin/y; id -u; test -e /bin/stat || echo gone; exit 6"), 6, "new\n0\ngone\n",
                "a user's container")
        c.gives(u.call("run", "-d", "--kind", "vm", "--name", "r", "--net", "none", "two", "sh", "-c",
                       "echo $((6*7)); read x"), 0)
        c.gives(u.call("wait", "r"), 0, "1\n", "its input has ended")
        c.check("42" in u.call("logs", "r").out, "and its log")
        c.gives(u.call("rm", "r"), 0)
    finally:
        subprocess.run(["userdel", "-r", name], capture_output=True)


if not os.path.exists(BUSYBOX):
    print("no busybox: not tried")
    c.end()
l = Lodge(work)
try:
    builtin(l, NATIVE)
    c.gives(l.import_box(), 0)
    parts = [foreground, kept, foreign, layered, hostile, agentless, ends, bundles, rootless]
    for part in parts:
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part(l)
finally:
    l.end()
c.end()
