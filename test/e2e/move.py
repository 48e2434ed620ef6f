"""Guests moved between two stores while they run, and cloned. What lives only in memory is there again;
what was written to a disk and flushed is not lost; and wherever the link is cut, or one of the two ends
killed, there is one living guest, or one that can be started, never two."""
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from guest import LIMIT, LODGE, Guest, alive, check, finish, free_port, give_up, part, tried, work

CPU = {arch: os.environ.get("GUEST_" + arch) for arch in ("riscv64", "amd64")}
HERE = os.path.dirname(os.path.abspath(__file__))
A, B = work + "/a", work + "/b"


def lodge(home, *args, limit=LIMIT):
    p = subprocess.run([LODGE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=limit, env={**os.environ, "LODGE_HOME": home})
    return p.returncode, p.stdout


def works(what, home, *args):
    code, said = lodge(home, *args)
    check("%s: lodge %s: %d %s" % (what, " ".join(args), code, said), code == 0)
    return said


def state(home, name):
    code, said = lodge(home, "inspect", name)
    return json.loads(said)[0] if code == 0 and said.startswith("[") else json.loads(said) if code == 0 else {"state": "none"}


def runs(home, name):
    return state(home, name)["state"] == "running"


class Kept(Guest):
    """At the console of one that runs in the background."""

    def __init__(self, home, name):
        self.args, self.text, self.at, self.marks, self.code, self.name = [], "", 0, 100, None, name
        self.p = subprocess.Popen([LODGE, "attach", name], stdin=subprocess.PIPE, bufsize=0,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                  env={**os.environ, "LODGE_HOME": home})
        alive.append(self)


def at(home, name, what):
    g = Kept(home, name)
    g.type("")
    return g if check(what + ": at its console", tried(lambda: g.run("true")[0] == 0), g) else None


def begun(arch, name, *more, cpus=1, memory="512M", bus="virtio"):
    """A guest in the background of A, with a nonce in memory, a writer to memory and one to its disk that
    counts what is flushed."""
    image = "%s/%s.img" % (work, name)
    with open(image, "wb") as f:
        f.truncate(32 << 20)
    folder = CPU[arch]
    works(name, A, "run", "-d", "--name", name, "--arch", arch, "--kernel", folder + "/kernel", "--initrd",
          folder + "/initrd", "--memory", memory, "--cpus", str(cpus), "--append", "console=ttyS0 quiet", "--disk",
          image + ",if=" + bus, *more)
    g = Kept(A, name)
    if not check(name + ": reaches a shell", tried(g.shell), g):
        return None, None
    nonce = re.search(r"is ([0-9a-f]{16})", g.run(
        "nonce=$(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \\n'); echo $nonce > /tmp/nonce; echo is $nonce")[1]).group(1)
    dev = "/dev/nvme0n1" if bus == "nvme" else "/dev/vda"
    g.run("mke2fs %s >/dev/null 2>&1; mkdir -p /mnt; mount -t ext2 %s /mnt" % (dev, dev))
    # each count is on the disk before it is told
    g.run("(i=0; while :; do i=$((i+1)); echo $i > /mnt/new; sync; mv /mnt/new /mnt/count; sync; echo $i > /tmp/told; done) & true")
    g.run("(while :; do dd if=/dev/urandom of=/tmp/dirt bs=64k count=64 2>/dev/null; done) & true")
    g.run("(i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done) & true")
    return g, nonce


def number(g, file):
    return int(g.run("n=; while [ -z \"$n\" ]; do n=$(cat %s); done; echo $n" % file)[1].split()[-1])


def is_well(what, g, nonce):
    check(what + ": the nonce is there", g.says("echo $nonce; cat /tmp/nonce", r"^%s\n%s$" % (nonce, nonce)), g)
    told, count = number(g, "/tmp/told"), number(g, "/tmp/count")
    g.run("sleep 2")
    check(what + ": both writers go on", number(g, "/tmp/told") > told and number(g, "/tmp/count") > count, g)
    check(what + ": what was flushed is there", g.says("a=; while [ -z \"$a\" ]; do a=$(cat /tmp/told); done; "
          "[ $(cat /mnt/count) -ge $a ] && echo fine", "^fine$"), g)
    check(what + ": the file system is whole", g.says("dmesg | grep -ciE 'ext2.*err|i/o error|stall|oops'", "^0$"), g)


def ended(*homes):
    for home in homes:
        for name in os.listdir(home + "/guests") if os.path.isdir(home + "/guests") else []:
            if not name.startswith("."):
                lodge(home, "rm", "-f", name)


def there_and_back(arch, cpus, bus="virtio"):
    what, name = "%s, %d cpus" % (arch, cpus), "m-%s-%d" % (arch, cpus)
    g, nonce = begun(arch, name, cpus=cpus, bus=bus)
    if not g:
        return
    for a, b in (A, B), (B, A), (A, B):
        before = number(g, "/tmp/count")
        said = works(what, a, "move", name, "--to-store", b)
        print("    %s: %s" % (what, said.splitlines()[0]), flush=True)
        give_up(g)
        check(what + ": it has left: %s" % state(a, name), state(a, name)["state"] == "moved")
        code, said = lodge(a, "start", name)
        check(what + ": it cannot be started there again: " + said, code == 125 and "has moved" in said)
        check(what + ": it runs", runs(b, name))
        g = at(b, name, what)
        if not g:
            return
        is_well(what, g, nonce)
        check(what + ": it went on from there", number(g, "/tmp/count") > before, g)
    ended(A, B)


def riscv64():
    there_and_back("riscv64", 1)


def riscv64_2():
    there_and_back("riscv64", 2)


def amd64():
    there_and_back("amd64", 1)


def amd64_2():
    there_and_back("amd64", 2, "nvme")


def command(mode, n):
    return "env LODGE_HOME=%s python3 -B %s/cut.py %s %d %s/pid -- %s" % (B, HERE, mode, n, work, LODGE)


def one_of(what, name, nonce, memory=True):
    """Exactly one runs, or can be started; the first where there are two folders is the truth."""
    here, there = state(A, name), state(B, name)
    both = [h for h in (A, B) if runs(h, name)]
    check("%s: not two: %s, %s" % (what, here["state"], there["state"]), len(both) <= 1)
    if not both:
        started = [h for h in (A, B) if lodge(h, "start", name)[0] == 0]
        check("%s: one can be started: %s, %s" % (what, here["state"], there["state"]), len(started) == 1)
        return None, started[0] if started else None
    g = at(both[0], name, what)
    if g and memory:
        is_well(what, g, nonce)
    return g, both[0]


def cuts(arch):
    """The link cut after so many bytes: at the greeting, in the boot files, the disk, memory, the end; and of what
    comes back: each of its five frames."""
    name = "cut-" + arch
    g, nonce = begun(arch, name, memory="192M")
    if not g:
        return
    give_up(g)
    at_home = A
    frames = [0, 10, 24, 30, 48, 60, 72, 80, 96]
    places = [("in", n) for n in (0, 20, 700, 5000, 1 << 20, 20 << 20, 30 << 20, 45 << 20, 60 << 20)]
    places += [("out", n) for n in frames]
    places += [("kill", n) for n in (10, 1 << 20, 40 << 20)]
    for mode, n in places:
        what = "%s, cut %s at %d" % (arch, mode, n)
        code, said = lodge(at_home, "move", name, "--command", command(mode, n).replace(B, A if at_home == B else B, 1))
        print("    %s: %d %s" % (what, code, said.strip().splitlines()[-1] if said.strip() else ""), flush=True)
        check(what + ": said", code in (0, 125) and said)
        g, home = one_of(what, name, nonce)
        if not g:
            return
        check("%s: where it says it is (%d): %s" % (what, code, home), (home != at_home) == (code == 0))
        at_home = home
        give_up(g)
    ended(A, B)


def cuts_riscv64():
    cuts("riscv64")


def cuts_amd64():
    cuts("amd64")


def gone(pid):
    for _ in range(200):
        try:
            with open("/proc/%d/stat" % pid) as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.05)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        gone(pid)
    except ProcessLookupError:
        pass


def killed():
    """One of the ends killed, its monitor, or the command."""
    for when in (0.05, 0.3, 0.8, 1.5, 2.5):
        for who in "source", "target", "command":
            what, name = "%s killed after %g s" % (who, when), "killed"
            g, nonce = begun("riscv64", name, memory="192M")
            if not g:
                return
            give_up(g)
            pid = state(A, name)["pid"]
            p = subprocess.Popen([LODGE, "move", name, "--cap-rate", "400M", "--command", command("in", -1)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 env={**os.environ, "LODGE_HOME": A}, start_new_session=True)
            time.sleep(when)
            if who == "source":
                kill(pid)
            elif who == "command":
                p.kill()
            else:
                there = state(B, name)
                receiver = subprocess.run("cat %s/pid; echo; pgrep -P $(cat %s/pid)" % (work, work), shell=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()
                for x in receiver + ([str(there["pid"])] if there.get("pid") else []):
                    kill(int(x))
            said = p.communicate(timeout=LIMIT)[0].decode()
            for _ in range(100):
                if who != "command" or not state(A, name)["state"] in ("running", "leaving") or runs(B, name):
                    break
                time.sleep(0.05)
            print("    %s: %s" % (what, said.strip().splitlines()[-1:]), flush=True)
            one_of(what, name, nonce, memory=False)
            ended(A, B)


def each_write():
    """The target killed at each of its writes that belong together, those of taking the guest over with them;
    whoever asks afterwards is not."""
    name, wrapper = "each", work + "/each.sh"
    g, nonce = begun("riscv64", name, memory="192M")
    if not g:
        return
    give_up(g)
    home = A
    for n in range(1, 30):
        other = B if home == A else A
        with open(wrapper, "w") as f:
            f.write("case $* in *--ask*) ;; *) export LODGE_KILL_AT=%d ;; esac\nexport LODGE_HOME=%s\nexec %s $*\n"
                    % (n, other, LODGE))
        code, said = lodge(home, "move", name, "--command", "sh " + wrapper)
        what = "target killed at write %d" % n
        here, there = state(home, name)["state"], state(other, name)["state"]
        print("    %s: %d %s; %s, %s" % (what, code, said.strip().splitlines()[-1:], here, there), flush=True)
        alive_in = [h for h in (A, B) if runs(h, name)]
        check(what + ": not two", len(alive_in) <= 1)
        if code:
            check(what + ": it stayed: %s, %s" % (here, there), here == "running")
            g = at(home, name, what)
            if not g:
                return
            is_well(what, g, nonce)
            give_up(g)
            continue
        check(what + ": it moved", here == "moved" and there in ("running", "broken", "created"))
        if there != "running":  # killed once it had it: as any monitor may be
            check(what + ": and can be started", lodge(other, "start", name)[0] == 0)
            g = Kept(other, name)
            check(what + ": and starts", tried(g.shell), g)
            give_up(g)
            break
        home = other
        if n > 20:
            break
    ended(A, B)


def namespaces():
    """To a Lodge in another network namespace, with a network card."""
    if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode:
        print("    SKIPPED: no network namespaces here", flush=True)
        return
    g, nonce = begun("riscv64", "ns", "--net", "user", memory="192M")
    if not g:
        return
    give_up(g)
    works("namespaces", A, "move", "ns", "--command", "env LODGE_HOME=%s unshare -n %s" % (B, LODGE))
    inside = os.readlink("/proc/%d/ns/net" % state(B, "ns")["pid"])
    check("namespaces: it is in another one", inside != os.readlink("/proc/self/ns/net"))
    g = at(B, "ns", "namespaces")
    if g:
        is_well("namespaces", g, nonce)
        check("namespaces: its card works", g.says("ping -c 1 -w 5 10.0.2.2 | tail -2; ip addr show eth0", "10.0.2.15"), g)
        give_up(g)
    ended(A, B)


def sshd_started():
    """A private one on the loopback, with keys of its own; what it runs has the store B. The ssh that lodge finds
    first is the real one with a configuration of ours: \"there\" is that server, \"stranger\" the same with another
    key than it has, \"unknown\" with a key of ours that it does not take."""
    folder, port = work + "/ssh", free_port()
    os.makedirs(folder + "/bin")
    for key in "host", "user", "other":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "%s/%s" % (folder, key)], check=True)

    def text(name):
        with open(folder + "/" + name) as f:
            return f.read()

    def put(name, text, mode=0o600):
        with open(folder + "/" + name, "w") as f:
            f.write(text)
        os.chmod(folder + "/" + name, mode)
    os.symlink(LODGE, folder + "/bin/lodge")
    put("authorized", text("user.pub"))
    put("known", "".join("%s %s\n" % (h, " ".join(text(k + ".pub").split()[:2]))
                         for h, k in (("there", "host"), ("unknown", "host"), ("stranger", "other"))))
    put("sshd.conf", "ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nStrictModes no\n"
        "UsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "SetEnv LODGE_HOME=%s PATH=%s/bin:/usr/bin:/bin\n" % (port, folder, folder, B, folder))
    put("config", "Host *\n HostName 127.0.0.1\n Port %d\n IdentitiesOnly yes\n BatchMode yes\n UserKnownHostsFile %s/known\n"
        " GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n CheckHostIP no\n"
        "Host there stranger\n IdentityFile %s/user\nHost unknown\n IdentityFile %s/other\n" % (port, folder, folder, folder))
    # an alias is what a key is known by
    put("bin/ssh", "#!/bin/sh\nfor h; do case $h in there|stranger|unknown) alias=$h ;; esac; done\n"
        "exec /usr/bin/ssh -F %s/config -o HostKeyAlias=$alias \"$@\"\n" % folder, 0o700)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # its own, if its service has never run
    p = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder + "/sshd.conf"], stdin=subprocess.DEVNULL,
                         stderr=open(folder + "/log", "w"))
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    return p, {**os.environ, "LODGE_HOME": A, "PATH": folder + "/bin:" + os.environ["PATH"]}


def over_ssh():
    """lodge move NAME HOST, as its users have it: refused by either side, cut once, and then moved."""
    what, name = "ssh", "byssh"
    if not os.path.exists("/usr/sbin/sshd"):
        check("ssh: openssh-server is there", False)
        return
    g, nonce = begun("riscv64", name, memory="256M")
    if not g:
        return
    give_up(g)
    sshd, env = sshd_started()

    def move(host, *more):
        p = subprocess.run([LODGE, "move", name, host, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=LIMIT, env=env)
        return p.returncode, p.stdout
    for host, words in ("stranger", "Host key verification failed"), ("unknown", "Permission denied"):
        code, said = move(host)
        check("ssh: %s: %d %s" % (host, code, said), code == 125 and words in said)
        check("ssh: %s: it stays" % host, runs(A, name) and state(B, name)["state"] == "none")
    p = subprocess.Popen([LODGE, "move", name, "there", "--cap-rate", "100M"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    clients = []
    for _ in range(200):
        clients = subprocess.run(["pgrep", "-x", "-P", str(p.pid), "ssh"], stdout=subprocess.PIPE, text=True).stdout.split()
        if clients and glob.glob(B + "/guests/.in-*"):
            break
        time.sleep(0.05)
    time.sleep(1)
    for pid in clients:
        kill(int(pid))
    said = p.communicate(timeout=LIMIT)[0].decode()
    check("ssh: cut: %d %s" % (p.returncode, said), len(clients) == 1 and p.returncode == 125)
    check("ssh: cut: it stays: %s" % state(A, name), runs(A, name))
    check("ssh: cut: nothing is there", tried(lambda: state(B, name)["state"] == "none" and not glob.glob(B + "/guests/.in-*")))
    g = at(A, name, "ssh: cut")
    if g:
        is_well("ssh: cut", g, nonce)
        give_up(g)
    code, said = move("there")
    check("ssh: moved: %d %s" % (code, said), code == 0 and runs(B, name) and state(A, name)["state"] == "moved")
    g = at(B, name, "ssh")
    if g:
        is_well("ssh", g, nonce)
        give_up(g)
    sshd.terminate()
    sshd.wait()
    check("ssh: it does not need the connection any more", runs(B, name))
    ended(A, B)


def refused():
    name = "refused"
    g, nonce = begun("riscv64", name, memory="192M")
    if not g:
        return
    for what, args, pattern in (
            ("nowhere", [], "where to"), ("two places", ["x", "--to-store", B], "where to"),
            ("no host", ["-x"], "option|host"), ("no Lodge there", ["--command", "cat;:"], "garbled|gone|not moved"),
            ("another talks there", ["--command", "yes | head -c 1000000;:"], "garbled|gone"),
            ("none there", ["--command", "false;:"], "gone")):
        code, said = lodge(A, "move", name, *args)
        check("%s: %d %s" % (what, code, said), code == 125 and re.search(pattern, said))
        is_well(what, g, nonce)
    works("name taken", B, "create", "--name", name, "linux")
    code, said = lodge(A, "move", name, "--to-store", B)
    check("name taken: %d %s" % (code, said), code == 125 and "already" in said)
    is_well("name taken", g, nonce)
    lodge(A, "pause", name)
    code, said = lodge(A, "move", name, "--to-store", B)
    check("paused: %d %s" % (code, said), code == 125 and "paused" in said)
    give_up(g)
    ended(A, B)


def clones():
    """Of a stopped guest, and of a snapshot: each goes its own way."""
    g, nonce = begun("riscv64", "c", memory="192M")
    if not g:
        return
    works("clone", A, "snapshot", "c", "t")
    code, said = lodge(A, "clone", "c", "c0")
    check("clone: not while it runs: " + said, code == 125 and "snapshot" in said)
    began = time.monotonic()
    for i in range(3):
        works("clone", A, "clone", "--tag", "t", "--start", "c", "s%d" % i)
    print("    a clone and its start: %d ms" % ((time.monotonic() - began) * 1000 / 3), flush=True)
    ids = {state(A, n)["id"] for n in ("c", "s0", "s1", "s2")}
    check("clone: each has an id of its own: %s" % ids, len(ids) == 4)
    for i in range(3):
        h = at(A, "s%d" % i, "clone")
        if h:
            is_well("clone", h, nonce)
            h.run("echo %d > /mnt/mine; sync" % i)
            give_up(h)
    for i in range(3):
        h = at(A, "s%d" % i, "clone")
        check("clone: its own disk", h and h.says("cat /mnt/mine", "^%d$" % i), h)
        give_up(h)
    check("clone: the first has nothing of them", g.says("ls /mnt/mine", "No such"), g)
    works("clone", A, "restore", "s1", "t")
    h = at(A, "s1", "clone")
    check("clone: restored once more", h and h.says("ls /mnt/mine", "No such"), h)
    g.run("sync")
    works("clone", A, "kill", "c")
    works("clone", A, "clone", "c", "c1")
    works("clone", A, "rm", "c")
    works("clone", A, "start", "c1")
    h = Kept(A, "c1")
    check("clone: of a stopped guest", tried(h.shell), h)
    check("clone: with its disk", h.says("mkdir -p /mnt; mount -t ext2 /dev/vda /mnt; cat /mnt/count", r"^\d+$"), h)
    code, said = lodge(A, "clone", "--tag", "t", "s0", "c1")
    check("clone: the name is taken: " + said, code == 125 and "already" in said)
    give_up(h)
    ended(A, B)

VARIABLE = "-guid 6c6f6467-6500-4000-8000-000000000001 -bs"


class Shell(Kept):
    """At the prompt of UEFI's shell, where a variable that is not kept lives in memory only."""

    def prompt(self):
        """It may have come before we did. What is typed in vain becomes prompts, too: until all is quiet."""
        until = time.monotonic() + LIMIT
        while "Shell> " not in self.text and time.monotonic() < until:
            self.type("", end="\r")
            self.quiet()

    def quiet(self):
        while self._read(time.monotonic() + 2):
            pass

    def put(self, name, value, how=""):
        self.type("setvar %s %s %s =0x%s" % (name, VARIABLE, how, value), end="\r")
        self.quiet()

    def has(self, what, name, value):
        self.quiet()
        self.text, self.at = "", 0
        self.type("setvar %s %s" % (name, VARIABLE), end="\r")
        check("%s: %s is %s" % (what, name, value), tried(self.expect, "(?i)^ *%s|Data.*%s|00000000: %s" % (value, value, value)), self)


def firmware():
    """Variables of UEFI firmware, those that it keeps and those that it does not, go with their guest."""
    uefi = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    if not os.path.exists(uefi):
        print("    SKIPPED: no OVMF here", flush=True)
        return
    works("firmware", A, "run", "-d", "--name", "uefi", "--arch", "amd64", "--net", "none", "--firmware", uefi)
    g = Shell(A, "uefi")
    g.prompt()
    g.put("Kept", "2A", "-nv")
    g.put("Ram", "77")
    works("firmware", A, "snapshot", "uefi", "t")
    g.put("Kept", "55", "-nv")
    g.put("Ram", "66")
    g.has("firmware: changed", "Kept", "55")
    give_up(g)
    works("firmware", A, "restore", "uefi", "t")
    works("firmware", A, "clone", "--tag", "t", "--start", "uefi", "twin")
    works("firmware", A, "clone", "--tag", "t", "uefi", "other")
    for name in "uefi", "twin":
        g = Shell(A, name)
        g.has("firmware: %s, from a snapshot" % name, "Kept", "2A")
        g.has("firmware: %s, from a snapshot" % name, "Ram", "77")
        give_up(g)
    g = Shell(A, "twin")
    g.put("Kept", "11", "-nv")
    give_up(g)
    works("firmware", A, "move", "twin", "--to-store", B)
    g = Shell(B, "twin")
    g.has("firmware: moved", "Kept", "11")
    g.has("firmware: moved", "Ram", "77")
    g.put("Kept", "12", "-nv")
    give_up(g)
    works("firmware", B, "kill", "twin")
    works("firmware", B, "clone", "twin", "third")
    for home, name, value in (A, "other", "2A"), (B, "twin", "12"), (B, "third", "12"):
        works("firmware", home, "start", name)
        g = Shell(home, name)
        g.prompt()
        g.has("firmware: %s, booted" % name, "Kept", value)
        give_up(g)
    ended(A, B)

def told(home, name):
    with open("%s/guests/%s/monitor.log" % (home, name), errors="replace") as f:
        return f.read()


def with_folder(arch):
    """What a guest has open in a shared folder is open again wherever it goes on, unless it is gone there."""
    what, at, name = "folder, " + arch, "%s/shared-%s" % (work, arch), "f-" + arch
    os.makedirs(at + "/dir/deep")
    for f in "kept", "goes", "dir/deep/inner":
        with open(at + "/" + f, "w") as out:
            out.write(f + "\n")
    g, nonce = begun(arch, name, "-v", at + ":/w", memory="192M")
    if not g:
        return
    g.run("cd /w/dir/deep; exec 5<>/w/kept 6</w/goes 7<inner; echo first > /w/gone; exec 8</w/gone; rm /w/gone")
    g.run("(exec 9>>/w/log; i=0; while :; do i=$((i+1)); echo $i >&9; echo $i > /tmp/logged; sleep 0.1; done) & true")
    works(what, A, "snapshot", name, "t")
    check(what + ": it goes on", g.says("read x <&7; echo $x", "dir/deep/inner"), g)
    os.rename(at + "/goes", at + "/went")
    with open(at + "/goes", "w") as out:
        out.write("another's\n")
    give_up(g)

    def fine(home, name, line):
        g = globals()["at"](home, name, what)
        if not g:
            return None
        is_well(what, g, nonce)
        check(what + ": an open file is open", g.says("read x <&5; echo \"is $x\"; echo %s >&5; cat /w/kept" % line, r"^is .*\n(.*\n)*%s$" % line), g)
        check(what + ": where it stood", g.says("pwd; cat inner; ls /w/dir", r"^/w/dir/deep\ndir/deep/inner\ndeep$"), g)
        check(what + ": its log goes on", g.says("a=$(wc -l < /w/log); sleep 2; b=$(wc -l < /w/log); echo $((b > a))", "^1$"), g)
        return g
    said = works(what, A, "restore", name, "t")
    check(what + ": and that is said", re.search("2 of the files.*are gone", said))
    g = fine(A, name, "again")
    if not g:
        return
    check(what + ": what is another's is not read", g.says("read x <&6 || echo failed; cat <&6", "failed|rror"), g)
    check(what + ": nor what was deleted", g.says("cat <&8", "rror|Bad"), g)
    check(what + ": by its name it is found", g.says("cat /w/goes", "^another's$"), g)
    works(what, A, "clone", "--tag", "t", "--start", name, name + "-twin")
    h = fine(A, name + "-twin", "twin")
    give_up(h)
    works(what, A, "rm", "-f", name + "-twin")
    give_up(g)
    works(what, A, "move", name, "--to-store", B)  # the same machine has the same folder
    g = fine(B, name, "moved")
    if not g:
        return
    give_up(g)
    ended(A, B)


def folder_riscv64():
    with_folder("riscv64")


def folder_amd64():
    with_folder("amd64")


def volumes():
    """Folders that are others there: only if one says so, and if they are there."""
    g, nonce = begun("riscv64", "v", "-v", "data:/w", memory="192M")
    if not g:
        return
    g.run("echo $nonce > /w/nonce; exec 5<>/w/nonce")
    for what, args, pattern in ("other folders", [], "data"), ("not there", ["--shared"], "data"):
        code, said = lodge(A, "move", "v", "--to-store", B, *args)
        check("volumes: %s: %d %s" % (what, code, said), code == 125 and re.search(pattern, said))
    works("volumes", B, "volume", "create", "data")
    code, said = lodge(A, "move", "v", "--to-store", B)
    check("volumes: others there: %d %s" % (code, said), code == 125 and "--shared" in said)
    shutil.copytree(A + "/volumes/data/data", B + "/volumes/data/data", dirs_exist_ok=True)
    give_up(g)
    works("volumes", A, "move", "v", "--to-store", B, "--shared")
    g = at(B, "v", "volumes")
    if g:
        is_well("volumes", g, nonce)
        g.run("echo there >&5; echo more > /w/more")
        check("volumes: it is that one: " + told(B, "v")[-200:], os.path.exists(B + "/volumes/data/data/more") and
              not os.path.exists(A + "/volumes/data/data/more") and "same name" in told(B, "v"))
        give_up(g)
    ended(A, B)

def mac_of(home, name):
    """As its card has it for whoever asks: FNV-1a of its id (vm/board.c)."""
    h = 0xcbf29ce484222325
    for c in state(home, name)["id"].encode():
        h = (h ^ c) * 0x100000001b3 % 2**64
    return "52:54:" + ":".join("%02x" % (h >> 8 * i & 255) for i in range(2, 6))


def identity(arch):
    """A clone of a running guest is another one: generation, entropy, addresses, name."""
    what, name = "identity, " + arch, "i-" + arch
    works(what, A, "network", "create", "lan-" + arch)
    g, nonce = begun(arch, name, "--net", "lan-" + arch, memory="192M")
    if not g:
        return
    up = "for i in $(seq 100); do ip addr show eth0 | grep -q 'inet ' && break; sleep 0.2; done; ip addr show eth0"
    check(what + ": it has an address", g.says(up, mac_of(A, name)), g)
    first = re.search(r"inet ([\d.]+)", g.run(up)[1]).group(1)
    check(what + ": it knows who it is", g.says("for i in $(seq 50); do [ -s /var/lib/lodge/identity ] && break; sleep 0.2; done; "
          "cat /var/lib/lodge/identity; hostname", r"%s %s %s\n%s" % (state(A, name)["id"], name, mac_of(A, name), name)), g)
    works(what, A, "snapshot", name, "t")
    drawn = set()
    for n in 0, 1:
        twin = "%s-%d" % (name, n)
        works(what, A, "clone", "--tag", "t", "--start", name, twin)
        h = at(A, twin, what)
        if not h:
            return
        check(what + ": the nonce is there", h.says("echo $nonce", nonce), h)
        check(what + ": its card's address is its own", h.says("for i in $(seq 100); do grep -q %s /sys/class/net/eth0/address && break; "
              "sleep 0.2; done; cat /sys/class/net/eth0/address" % mac_of(A, twin), mac_of(A, twin)), h)
        h.run(up)
        second = re.search(r"inet ([\d.]+)", h.run("sleep 1; " + up)[1])
        check(what + ": and has a lease of its own: %s" % second, second and second.group(1) != first, h)
        check(what + ": the first answers it", h.says("ping -c 1 -w 10 " + first, "1 packets received"), h)
        check(what + ": its name is its own", h.says("hostname", "^%s$" % twin), h)
        drawn.add(h.run("head -c 16 /dev/urandom | md5sum")[1].strip())
        if arch == "riscv64":  # the kernel of amd64 is built without that driver
            check(what + ": its kernel has seen a new generation", h.says("dmesg", "(?i)crng reseeded due to virtual machine fork"), h)
        give_up(h)
    check(what + ": random numbers differ", len(drawn) == 2)
    check(what + ": the first keeps its own", g.says("cat /sys/class/net/eth0/address; hostname; dmesg | grep -c 'machine fork'",
          "%s\n%s\n0" % (mac_of(A, name), name)), g)
    give_up(g)
    ended(A, B)


def identity_riscv64():
    identity("riscv64")


def identity_amd64():
    identity("amd64")


if __name__ == "__main__":
    for fn in (riscv64, amd64, riscv64_2, amd64_2, cuts_riscv64, cuts_amd64, killed, each_write, namespaces, over_ssh, refused,
               clones, firmware, folder_riscv64, folder_amd64, volumes, identity_riscv64, identity_amd64):
        if not sys.argv[1:] or fn.__name__ in sys.argv[1:]:
            part(fn)
            ended(A, B)
    finish()
