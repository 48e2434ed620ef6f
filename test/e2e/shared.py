"""Folders of the host that guests share. What a guest's programs see and do there is compared with
the same programs run on the host itself; the second wall is that nothing else of the host is
reached, whatever root in the guest tries."""
import os
import shutil
import subprocess
import sys
import time

import guest
from guest import boots, check, ends, part, refuses, tried, work

ARCHES = ["riscv64", "amd64"]
PROGRAMS = os.environ["PROGRAMS"]
HERE = os.environ["HERE"]
os.environ["LODGE_HOME"] = work + "/store"


def args(arch, *more):
    g = os.environ["GUEST_" + arch]
    return ["--arch", arch, "--net", "none", "--kernel", g + "/kernel", "--initrd", g + "/initrd",
            "--append", "console=ttyS0 quiet", "-m", "512M", *more]


def folder(name):
    at = os.path.join(work, name)
    os.makedirs(at)
    return at


def put(at, text=""):
    with open(at, "w") as f:
        f.write(text)


def programs(at, arch):
    for p in ["ops", "fsx"]:
        shutil.copy("%s/%s-%s" % (PROGRAMS, p, arch), at + "/" + p)


def files():
    """Every operation: the guest's answers are the host's."""
    owners = "owners" if os.geteuid() == 0 else ""
    native = folder("native")
    wanted = subprocess.run([PROGRAMS + "/ops-" + HERE, native] + owners.split(), stdout=subprocess.PIPE).stdout
    check("files: there is something to compare with", wanted.count(b"\n") > 200)
    for arch in ARCHES:
        at = folder("files-" + arch)
        programs(at, arch)
        os.mkdir(at + "/dir")
        g = boots("files " + arch, *args(arch, "-v", at + ":/w"))
        if not g:
            continue
        check(arch + ": operations end well", g.run("/w/ops /w/dir %s > /w/out" % owners)[0] == 0, g)
        got = open(at + "/out", "rb").read()
        if not check(arch + ": operations answer as on the host", got == wanted):
            for a, b in zip(wanted.split(b"\n"), got.split(b"\n")):
                if a != b:
                    print("    host %r\n    guest %r" % (a, b))
        check(arch + ": what is left is the same", listing(native) == listing(at + "/dir"))
        for seed in [1, 2]:
            check(arch + ": random operations on a file", g.says("/w/fsx /w/f %d 2000" % seed, "2000 steps agree"), g)
        g.type("exit")
        ends("files " + arch, g)


def listing(at):
    out = subprocess.run("find . -printf '%P %y %m %s %l %U\n' | sed 's/^\\(.* d [0-9]*\\) [0-9]*/\\1/' | sort", shell=True, cwd=at, stdout=subprocess.PIPE).stdout
    return out


def trees():
    """A tree unpacked by the guest is the tree that was packed, and the other way round."""
    tree = "/usr/include/linux" if os.path.isdir("/usr/include/linux") else "/etc"
    tar = folder("trees") + "/tree.tar"
    subprocess.run(["tar", "-chf", tar, "--exclude=shadow*", "-C", tree, "."], stderr=subprocess.DEVNULL)
    for arch in ARCHES:
        at = folder("tree-" + arch)
        shutil.copy(tar, at)
        os.makedirs(at + "/ref")
        subprocess.run(["tar", "-xf", tar, "-C", at + "/ref"])
        g = boots("trees " + arch, *args(arch, "-v", at + ":/w"))
        if not g:
            continue
        check(arch + ": unpacks", g.run("mkdir /w/x && tar -xf /w/tree.tar -C /w/x")[0] == 0, g)
        check(arch + ": the tree is the same", subprocess.run(["diff", "-r", at + "/ref", at + "/x"]).returncode == 0)
        sums = "cd %s && find . -type f | sort | xargs cat | sha256sum"
        ours = subprocess.run(sums % (at + "/ref"), shell=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
        check(arch + ": reads the same", g.says(sums % "/w/ref", ours), g)
        check(arch + ": removes", g.run("rm -rf /w/x")[0] == 0 and not os.path.exists(at + "/x"), g)
        g.type("exit")
        ends("trees " + arch, g)


def together():
    """Two guests, of both CPUs, in one folder: locks and appends lose nothing, both see it all."""
    at, n = folder("together"), 300
    for arch in ARCHES:
        shutil.copy("%s/ops-%s" % (PROGRAMS, arch), at + "/ops-" + arch)
    gs = [boots("together " + arch, *args(arch, "-v", at + ":/w")) for arch in ARCHES]
    if not all(gs):
        return
    for g, arch in zip(gs, ARCHES):
        g.type("/w/ops-%s together /w %d; echo did''-it-$?" % (arch, n))
    for g in gs:
        check("together: nothing fails", g.expect(r"^did-it-(\d+)").group(1) == "0", g)
    check("together: locks keep out", int.from_bytes(open(at + "/number", "rb").read(), "little") == 2 * n)
    lines = open(at + "/log").read().splitlines()
    check("together: no line is lost", len(lines) == 2 * n and len(set(lines)) == len(set(l for l in lines if l.startswith("line "))))
    gs[0].run("mkdir /w/d && echo one > /w/d/new")
    check("together: the other sees it", gs[1].says("sleep 2; cat /w/d/new", "^one"), gs[1])
    gs[1].run("mv /w/d /w/e && echo two >> /w/e/new")
    check("together: and what became of it", gs[0].says("sleep 2; cat /w/e/new", "^one\ntwo"), gs[0])
    put(at + "/host", "from the host\n")
    check("together: the host's, too", all(g.says("sleep 2; cat /w/host", "^from the host") for g in gs))
    for g in gs:
        g.type("exit")
        ends("together", g)


def readonly():
    for arch in ARCHES:
        at = folder("ro-" + arch)
        put(at + "/x", "text\n")
        g = boots("readonly " + arch, *args(arch, "-v", at + ":/a b/c:ro"))
        if not g:
            continue
        check(arch + ": is mounted where it was said", g.says("cat '/a b/c/x'", "^text"), g)
        check(arch + ": read-only", "(ro," in g.run("mount | grep virtiofs")[1], g)
        g.run("mount -o remount,rw '/a b/c'")
        tries = ["echo y > x", "echo y > new", "rm x", "mv x y", "ln x y", "ln -s a b", "mkdir d", "chmod 777 x",
                 "touch x", "truncate -s 0 x", "mkfifo f"]
        for t in tries:
            check("%s: root does not %s" % (arch, t), g.run("cd '/a b/c' && " + t)[0] != 0, g)
        check(arch + ": nothing changed", os.listdir(at) == ["x"] and open(at + "/x").read() == "text\n")
        g.type("exit")
        ends("readonly " + arch, g)


def escapes():
    """Root in the guest makes links and races; what it finds is its own world, or nothing."""
    for arch in ARCHES:
        top = folder("esc-" + arch)
        put(top + "/secret", "the host's secret\n")
        at = top + "/in"
        os.mkdir(at)
        os.symlink("../secret", at + "/out")
        os.symlink(top + "/secret", at + "/abs")
        os.symlink("..", at + "/up")
        os.mkfifo(at + "/fifo")
        g = boots("escapes " + arch, *args(arch, "-v", at + ":/w"))
        if not g:
            continue
        tries = ["cat /w/out", "cat /w/abs", "cat /w/up/secret", "cat /w/../secret", "cat /w/in/../../secret",
                 "ln -s / /w/root; cat /w/root%s/secret" % top, "ln -s /proc/self/root /w/magic; cat /w/magic%s/secret" % top,
                 "ln -s %s/secret /w/l; ln /w/l /w/h; cat /w/h; chmod 777 /w/l; echo spoiled > /w/l" % top,
                 "mknod /w/disk b 254 0; cat /w/disk", "cp /bin/busybox /w/su; chown 0 /w/su; chmod 6755 /w/su; cat /w/out"]
        for t in tries:
            check("%s: %s" % (arch, t), "secret\n" not in g.run(t)[1].replace(t, ""), g)
        g.type("while :; do mkdir /w/d; echo mine > /w/d/secret; rm -r /w/d; ln -s .. /w/d; rm /w/d; done 2>/dev/null &")
        saw = g.run("for i in $(seq 300); do cat /w/d/secret; done 2>/dev/null | sort -u; kill $!")[1]
        check(arch + ": a race finds nothing of the host", "host" not in saw, g)
        check(arch + ": the secret is as it was", open(top + "/secret").read() == "the host's secret\n")
        check(arch + ": there is nothing else beside it", sorted(os.listdir(top)) == ["in", "secret"])
        risky = [f for f in os.listdir(at) if os.lstat(at + "/" + f).st_mode & 0o6000]
        check(arch + ": no set-user-ID program came to be", not risky)
        check(arch + ": no device came to be", not os.path.exists(at + "/disk"))
        g.type("exit")
        ends("escapes " + arch, g)


def volumes():
    """A named volume outlives its guests, and is not removed under one."""
    def lodge(*a):
        return subprocess.run([guest.LODGE, *a], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check("volumes: create", lodge("volume", "create", "data").returncode == 0)
    for arch, say, want in [("riscv64", "echo kept > /v/x", ""), ("amd64", "cat /v/x", "^kept")]:
        g = boots("volumes " + arch, *args(arch, "-v", "data:/v"))
        if not g:
            continue
        check(arch + ": the volume", g.says(say, want), g)
        got = lodge("volume", "rm", "data")
        check(arch + ": is kept while it is used", got.returncode == 125 and "a guest uses it" in got.stdout)
        check(arch + ": nor is it pruned", lodge("volume", "prune", "-f").stdout == "")
        g.type("exit")
        ends("volumes " + arch, g)
    check("volumes: are listed", "data" in lodge("volume", "ls", "-q").stdout.split())
    check("volumes: rm", lodge("volume", "rm", "data").returncode == 0 and lodge("volume", "ls", "-q").stdout == "")


def lost_server():
    """The server of a folder dies: the guest gets errors, and goes on."""
    at = folder("lost")
    g = boots("lost server", *args("riscv64", "-v", at + ":/w"))
    if not g:
        return
    kids = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(g.p.pid)], stdout=subprocess.PIPE, text=True).stdout
    for line in kids.splitlines():
        pid, name = line.split()
        if name == "lodge-share":
            os.kill(int(pid), 9)
    check("lost server: files are gone", g.says("ls /w; echo x > /w/x", "not connected"), g)
    check("lost server: the guest goes on", g.says("echo on", "^on"), g)
    g.type("exit")
    ends("lost server", g)


def silent_server():
    """The server of a folder stands, as if its disk had gone: nobody waits for it for ever."""
    at, name = folder("silent"), "silent-server"
    os.environ["LODGE_PATIENCE"] = "1000"
    g = boots("silent server", *args("riscv64", "-v", at + ":/w", "--name", name))
    del os.environ["LODGE_PATIENCE"]
    if not g:
        return

    def says(*words):
        p = subprocess.run([guest.LODGE, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=60)
        return p.returncode, p.stdout

    kids = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(g.p.pid)], stdout=subprocess.PIPE, text=True).stdout
    server = [int(l.split()[0]) for l in kids.splitlines() if l.split()[1] == "lodge-share"][0]
    os.kill(server, 19)
    g.type("ls /w; echo s''aid-$?")
    check("silent server: is paused", says("pause", name)[0] == 0)
    check("silent server: and resumed", says("resume", name)[0] == 0)
    code, text = says("snapshot", name, "tag")
    check("silent server: no snapshot, in words (%s)" % text, code == 125 and "does not answer" in text)
    os.kill(server, 18)
    check("silent server: goes on when it does", tried(g.expect, "^said-0"), g)
    until = time.monotonic() + 30
    while (code := says("snapshot", name, "tag")[0]) and time.monotonic() < until:
        time.sleep(0.2)
    check("silent server: a snapshot then", code == 0)
    check("silent server: the folder works", g.says("echo x > /w/x && cat /w/x", "^x"), g)
    os.kill(server, 19)
    g.type("ls /w")
    check("silent server: is stopped", says("kill", name)[0] == 0)
    check("silent server: has ended", tried(g.end) is not False, g)
    check("silent server: leaves no process", not os.path.exists("/proc/%d" % server))
    says("rm", "--force", name)


def reboots():
    """A guest that starts anew, or mounts anew, finds its folder as it left it."""
    at = folder("reboots")
    g = boots("reboots", *args("amd64", "-v", at + ":/w"))
    if not g:
        return
    g.run("exec 7>/w/open; echo one > /w/x")
    g.type("reboot -f")
    check("reboots: comes again", tried(g.shell), g)
    check("reboots: the folder is there", g.says("cat /w/x", "^one"), g)
    check("reboots: mounts again", g.says("umount /w; ls /w | wc -l; mount -t virtiofs share0 /w; cat /w/x", "^0\none"), g)
    g.type("exit")
    ends("reboots", g)


def words():
    refuses("the kernel's own", "view of this machine's kernel", *args("riscv64", "-v", "/proc:/w"))
    refuses("no folder", "no such folder", *args("riscv64", "-v", work + "/nothing:/w"))
    refuses("a file", "only folders", *args("riscv64", "-v", guest.LODGE + ":/w"))
    refuses("no place", "FOLDER:PLACE", *args("riscv64", "-v", "/tmp"))
    refuses("a relative place", "begins with /", *args("riscv64", "-v", "/tmp:w"))
    refuses("two for one", "same place", *args("riscv64", "-v", "/tmp:/w", "-v", "/usr:/w"))
    refuses("another word", "ro and rw", *args("riscv64", "-v", "/tmp:/w:fast"))
    refuses("deterministic", "shared folders", *args("riscv64", "-v", "/tmp:/w", "--deterministic"))


for p in [words, files, trees, together, readonly, escapes, volumes, lost_server, silent_server, reboots]:
    if len(sys.argv) < 2 or any(a in p.__name__ for a in sys.argv[1:]):
        part(p)
guest.finish()
