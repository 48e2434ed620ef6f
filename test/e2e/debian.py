"""Debian from its image, as a user runs it: login prompt, systemd, apt through the NAT, ssh through
a forward, and a named guest that keeps its disk."""
import os
import socket
import sys
import time

from guest import Guest, check, ends, finish, free_port, part, tried, work

os.environ.setdefault("LODGE_HOME", work + "/home")

LONG = 900


class Debian(Guest):
    def login(self):
        self.expect("debian login: ", LONG)
        self.type("root")
        self.expect(r"root@debian:~# ", LONG)
        # bash edits lines with escapes; a plain prompt keeps what it says readable
        self.type("bind 'set enable-bracketed-paste off'; export TERM=dumb PAGER=cat SYSTEMD_COLORS=0")
        return self.run("true", LONG)[0] == 0


def start(name, *args):
    g = Debian(*args, "debian")
    if check(name + ": login prompt and shell", tried(g.login), g):
        return g
    g.kill()


def ssh_banner(port):
    for _ in range(30):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                banner = s.recv(64)
                if banner:
                    return banner
        except OSError:
            pass
        time.sleep(2)
    return b""


def updates(g):
    """A mirror out of step with itself is no fault of the guest: then the main archive will do, under
    whichever of the release's names its lists fit what it signed."""
    update = "apt-get -q update -o APT::Update::Error-Mode=any"
    status, said = g.run(update, LONG)
    if status and ("Mirror sync in progress" in said or "is expired" in said):
        print("    the mirror's lists are not those it signed; trying the release's other name")
        g.run("cd /etc/apt; uri=$(sed -n 's/^URIs: *//p' sources.list.d/debian.sources | head -n 1); cd")
        g.run("rm /etc/apt/sources.list.d/*; echo deb $uri stable main > /etc/apt/sources.list")
        status, said = g.run(update, LONG)
    return status == 0


def debian():
    port = free_port()
    g = start("debian", "--name", "e2e", "--cpus", "2", "--publish", "127.0.0.1:%d:22" % port)
    if not g:
        return
    check("debian: systemd is running", g.says("systemctl is-system-running --wait", "^running$", LONG), g)
    check("debian: nothing failed", g.says("systemctl --failed --no-legend | wc -l", "^0$"), g)
    check("debian: apt-get update", updates(g), g)
    check("debian: apt-get install", g.run("apt-get -qy install hello && hello", LONG)[0] == 0, g)
    check("debian: dpkg is at peace", g.says("dpkg -C | wc -l; dpkg -l | grep -c '^ii'", r"^0\n\d{3}"), g)
    check("debian: the root file system is whole",
          g.says("dumpe2fs -h /dev/vda 2>/dev/null | grep -c 'state: *clean'", "^1$"), g)
    check("debian: owners are right", g.says("stat -c %U:%G:%a /usr/bin/chage", "^root:shadow:2755$"), g)
    check("debian: two cpus", g.says("nproc", "^2$"), g)
    check("debian: ssh answers through the forward", ssh_banner(port).startswith(b"SSH-2.0-OpenSSH"), g)
    g.run("echo kept > /root/file; cat /etc/machine-id > /root/id")
    g.type("poweroff")
    ends("debian", g)

    g = start("debian again", "--name", "e2e")
    if not g:
        return
    check("debian again: its disk was kept", g.says("cat /root/file; hello", "^kept"), g)
    check("debian again: is the same machine", g.says("cmp /root/id /etc/machine-id && echo same", "^same"), g)
    g.type("systemctl reboot")
    check("debian again: restarts", tried(g.login), g)
    g.type("poweroff")
    ends("debian again", g)


def runtimes():
    """Programs that translate themselves while they run, against the same without: LuaJIT, Java (both of
    its compilers), V8."""
    g = start("runtimes", "--name", "runtimes", "--cpus", "2", "--memory", "1G")
    if not g:
        return
    updates(g)
    wanted = "luajit nodejs openjdk-21-jdk-headless"
    check("runtimes: installed", g.run("apt-get -qy install --no-install-recommends " + wanted, LONG)[0] == 0, g)
    for name in ("Work.java", "work.lua", "work.js"):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "runtimes", name)) as f:
            g.type("cat > %s <<'END'\n%sEND" % (name, f.read()))
    check("runtimes: javac", g.run("javac Work.java", LONG)[0] == 0, g)
    for plain, others in (("java -Xint Work", ("java Work", "java -XX:TieredStopAtLevel=1 Work",
                                               "java -XX:-TieredCompilation Work")),
                          ("luajit -joff work.lua", ("luajit work.lua",)),
                          ("node --jitless work.js 2> /dev/null", ("node work.js",))):
        status, want = g.run(plain, LONG)
        check("runtimes: %s" % plain, status == 0 and len(want) > 20, g)
        for other in others:
            check("runtimes: %s says the same" % other, g.run(other, LONG) == (0, want), g)
    g.type("poweroff")
    ends("runtimes", g)


def unnamed():
    g = start("unnamed")
    if g:
        check("unnamed: starts from the image", g.run("test -e /root/file")[0] == 1, g)
        g.type("poweroff")
        ends("unnamed", g)


for p in (debian, unnamed, runtimes):
    if len(sys.argv) < 2 or p.__name__ in sys.argv[1:]:
        part(p)
finish()
