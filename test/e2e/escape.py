"""Escaping from a live monitor: what its threads can still do once somebody else's code runs on
them, with all of its confinement, and without its filter of system calls; see escape.c."""
import os
import subprocess
import sys
import time

import guest
from guest import Guest, check, ends, part, tried, work

ESCAPE = os.environ["ESCAPE"]
ADDRESS = "for i in 1 2 3 4 5 6 7 8 9; do ip addr show eth0 | grep -o '10.0.2.15' && break; sleep 1; done"
KERNEL = {a: os.environ["GUEST_" + a] for a in ("riscv64", "amd64")}


def children(pid):
    return [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True).stdout.split()]


def named(pid):
    with open("/proc/%d/comm" % pid) as f:
        return f.read().strip()


def apart(what, pid, *namespaces):
    """Whether all threads of a process are in other namespaces than we are."""
    same = [n for t in os.listdir("/proc/%d/task" % pid) for n in namespaces
            if os.readlink("/proc/%d/task/%s/ns/%s" % (pid, t, n)) == os.readlink("/proc/self/ns/" + n)]
    check("%s: %s of its own" % (what, ", ".join(namespaces)), not same)


def all_apart(what, g):
    """The monitor, its helper, the servers of its folders; and its NAT but for the network."""
    apart(what, g.p.pid, "mnt", "ipc", "uts", "net")
    for c in children(g.p.pid):
        if named(c) == "lodge-share":
            apart(what + ": share", c, "mnt", "ipc", "uts", "net")
        elif named(c) == "lodge-helper":
            apart(what + ": helper", c, "ipc", "uts", "net")
        elif named(c) == "lodge-nat":
            apart(what + ": nat", c, "mnt", "ipc", "uts")


def attack(what, g, pid, folder, *how, internet=0):
    r = subprocess.run([ESCAPE, str(pid), folder, *how], stdout=subprocess.PIPE, text=True)
    print(r.stdout.rstrip())
    check(what + ": nothing is got", r.returncode == 0 and "%d with the internet" % internet in r.stdout, g)


def attacked(what, arch, *more, env=None, unfiltered=False):
    folder = os.path.join(work, what.replace(" ", "-"))
    os.makedirs(folder + "/shared")
    for name in "canary", "disk":
        with open(os.path.join(folder, name), "wb") as f:
            f.write(bytes(1 << 20))
    at = KERNEL[arch]
    g = Guest("--arch", arch, "--kernel", at + "/kernel", "--initrd", at + "/initrd", "--append", "console=ttyS0 quiet",
              "-c", "2", "--disk", folder + "/disk", "-v", folder + "/shared:/w", *more, env=env)
    if not check(what + ": boots", tried(g.shell), g):
        return
    all_apart(what, g)
    how = ["unfiltered"] * unfiltered
    attack(what, g, g.p.pid, folder, *how)
    nats = [c for c in children(g.p.pid) if named(c) == "lodge-nat"]
    check(what + ": a NAT, if that was asked for", len(nats) == ("user" in more), g)
    for c in nats:
        attack(what + ": its NAT", g, c, folder, *how, internet=1)
        check(what + ": the NAT goes on", g.says(ADDRESS, "^10.0.2.15"), g)
    check(what + ": the guest goes on", g.says("echo on; cat /w/x 2>&1 | head -1; dd if=/dev/vda of=/dev/null bs=64k count=4 2>&1 && echo read", "^read"), g)
    g.type("exit")
    ends(what, g)


def plain():
    """A guest with disk, console and folder, and no network: there is nothing for it outside."""
    for arch in KERNEL:
        attacked("plain " + arch, arch, "--net", "none")


def nat():
    """A process speaks to the internet for the guest, and does nothing else; the monitor cannot."""
    attacked("nat", "riscv64", "--net", "user")


def unfiltered():
    """The other layers hold without the filter of system calls: a monitor whose guest is on the
    internet reaches no network, this host's loopback included."""
    attacked("unfiltered", "riscv64", "--net", "user", env={"LODGE_SECCOMP": "off"}, unfiltered=True)


def behind():
    """One in the background sees no process but its own, also without the filter of system calls."""
    at, folder = KERNEL["riscv64"], work + "/behind"
    os.makedirs(folder + "/shared")
    open(folder + "/canary", "w").close()
    lodge = lambda *a: subprocess.run([guest.LODGE, *a], stdout=subprocess.PIPE, text=True, env={**os.environ, "LODGE_HOME": folder + "/home", "LODGE_SECCOMP": "off"})
    started = lodge("run", "-d", "--name", "one", "--kernel", at + "/kernel", "--initrd", at + "/initrd", "--append", "console=ttyS0 quiet",
                    "--net", "user", "-v", folder + "/shared:/w")
    if not check("behind: starts", started.returncode == 0):
        return
    pid = int(lodge("inspect", "--format", "{{.Pid}}", "one").stdout)
    apart("behind", pid, "pid", "mnt", "ipc", "uts", "net")
    check("behind: it serves its folder itself", sorted(named(c) for c in children(pid)) == ["lodge-nat", "lodge-share"])
    for c in children(pid):
        apart("behind: " + named(c), c, "pid", "mnt", "ipc", "uts", *["net"] * (named(c) == "lodge-share"))
    r = subprocess.run([ESCAPE, str(pid), folder, "alone"], stdout=subprocess.PIPE, text=True)
    print(r.stdout.rstrip())
    check("behind: nothing is got", r.returncode == 0 and "0 with the internet" in r.stdout)
    check("behind: goes on", lodge("stats", "--no-stream", "one").returncode == 0)
    os.kill(pid, 9)
    for _ in range(100):
        if not os.path.exists("/proc/%d/task" % pid) or open("/proc/%d/stat" % pid).read().split(")")[1].split()[0] == "Z":
            break
        time.sleep(0.1)
    lodge("rm", "-f", "one")


def user():
    """Nobody special: what confines root's guests confines his, and nothing is said to be missing."""
    at, home = KERNEL["riscv64"], work + "/nobody"
    for folder in work, home, home + "/shared":
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
    os.chown(home, 65534, 65534)
    subprocess.run(["cp", "-L", at + "/kernel", at + "/initrd", home], check=True)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    g = Guest("--name", "one", "--kernel", home + "/kernel", "--initrd", home + "/initrd", "--append", "console=ttyS0 quiet", "--net", "user",
              "-v", home + "/shared:/w", env={"LODGE_HOME": home + "/home"}, **nobody)
    if check("user: boots", tried(g.shell), g):
        check("user: it is less confined nowhere", "less confined" not in g.text, g)
        all_apart("user", g)
        lodge = lambda *a: subprocess.run([guest.LODGE, *a], capture_output=True, text=True, env={**os.environ, "LODGE_HOME": home + "/home"}, **nobody)
        check("user: is saved", lodge("snapshot", "one", "tag").returncode == 0, g)
        check("user: is renamed", lodge("rename", "one", "two").returncode == 0, g)
        g.type("exit")
        ends("user", g)


def helper():
    """The process that does for a monitor what needs names: they are its own guest's."""
    at, other = KERNEL["riscv64"], work + "/homes/guests/other"
    os.makedirs(other)
    open(other + "/canary", "w").close()
    os.environ["LODGE_HOME"] = work + "/homes"
    g = Guest("--name", "one", "--kernel", at + "/kernel", "--initrd", at + "/initrd", "--append", "console=ttyS0 quiet", "--net", "none")
    if not check("helper: boots", tried(g.shell), g):
        return
    pids = subprocess.run(["pgrep", "-P", str(g.p.pid), "-f", "lodge-helper"], stdout=subprocess.PIPE, text=True).stdout.split()
    if check("helper: there is one", len(pids) == 1, g):
        r = subprocess.run([ESCAPE, pids[0], other, "helper"], stdout=subprocess.PIPE, text=True)
        print(r.stdout.rstrip())
        check("helper: nothing is got", r.returncode == 0 and "0 with the internet" in r.stdout, g)
        lodge = lambda *a: subprocess.run([guest.LODGE, *a], capture_output=True, text=True)
        check("helper: saves it all the same", lodge("snapshot", "one", "tag").returncode == 0, g)
        check("helper: renames it", lodge("rename", "one", "two").returncode == 0, g)
        check("helper: saves it under that name", lodge("snapshot", "two", "again").returncode == 0, g)
    g.type("exit")
    ends("helper", g)


def switch():
    """The switch of a network, whose frames are guests'; an isolated one has no network itself."""
    at, folder = KERNEL["riscv64"], os.path.join(work, "switch")
    os.makedirs(folder)
    open(folder + "/canary", "w").close()
    os.environ["LODGE_HOME"] = work + "/home"
    for name, *how in ("lan",), ("alone", "--isolated"):
        subprocess.run([guest.LODGE, "network", "create", *how, name], stdout=subprocess.DEVNULL)
        g = Guest("--name", "one", "--kernel", at + "/kernel", "--initrd", at + "/initrd", "--append", "console=ttyS0 quiet", "--net", name)
        if not check(name + ": boots", tried(g.shell), g):
            return
        all_apart(name, g)
        pids = subprocess.run(["pgrep", "-f", "--", "--root %s/home network serve --detach %s" % (work, name)], stdout=subprocess.PIPE, text=True).stdout.split()
        if check(name + ": there is one", len(pids) == 1, g):
            apart(name + ": switch", int(pids[0]), "pid", "mnt", "ipc", "uts", *["net"] * bool(how))
            r = subprocess.run([ESCAPE, pids[0], folder, "switch"], stdout=subprocess.PIPE, text=True)
            print(r.stdout.rstrip())
            check(name + ": nothing is got", r.returncode == 0 and "%d with the internet" % (not how) in r.stdout, g)
            check(name + ": goes on", g.says("for i in 1 2 3 4 5 6 7 8 9; do ip addr show eth0 | grep -q 'inet ' && break; sleep 1; done; ping -c 1 -W 5 one", "^64 bytes"), g)
        g.type("exit")
        ends(name, g)
        subprocess.run([guest.LODGE, "rm", "one"], stdout=subprocess.DEVNULL)


if os.geteuid():
    print("SKIPPED: only root may put calls into a monitor, which is no debuggee for its user")
    print("0 passed, 0 failed")
    sys.exit()
for p in [plain, nat, unfiltered, behind, user, helper, switch]:
    if len(sys.argv) < 2 or any(a in p.__name__ for a in sys.argv[1:]):
        part(p)
guest.finish()
