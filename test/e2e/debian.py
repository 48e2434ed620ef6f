"""Debian from its image, as a user runs it: login prompt, systemd, apt through the NAT, ssh through
a forward, and a named guest that keeps its disk."""
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

from built_in import lines
from debian_guest import ARCH, ENGINE, LONG, Debian, ssh, ssh_banner, start, updates
from guest import LODGE, check, ends, finish, free_port, part, tried, work


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
    check("debian: a command through ssh", ssh(g, port, "cat /etc/hostname; seq 1 50000 | md5sum") ==
          "debian\n%s  -\n" % hashlib.md5(lines(50000)).hexdigest(), g)
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
    wanted = "luajit nodejs openjdk-%d-jdk-headless" % {"riscv64": 21, "amd64": 17}[ARCH]
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


def foreign_agent():
    """The same image with Debian's qemu-guest-agent instead of ours."""
    g = start("foreign", "--name", "foreign")
    if not g:
        return
    updates(g)
    check("foreign: installed", g.run("apt-get -qy install --no-install-recommends qemu-guest-agent", LONG)[0] == 0, g)
    g.run("systemctl disable lodge-agent; rm -f /etc/systemd/system/lodge-agent.service")
    g.type("poweroff")
    ends("foreign", g)
    g = start("foreign again", "--name", "foreign")
    if not g:
        return

    def exec_(*words, input=None):
        p = subprocess.run([LODGE, "exec", *words], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
        return p.returncode, p.stdout, p.stderr
    check("foreign: it runs programs",
          exec_("foreign", "sh", "-c", "systemctl is-active lodge-agent qemu-guest-agent; echo e >&2; exit 5") ==
          (5, b"inactive\nactive\n", b"e\n"), g)
    check("foreign: with input, variables and a folder",
          exec_("-i", "-e", "A=b c", "-w", "/etc", "foreign", "sh", "-c", "cat; echo $A; pwd", input=b"in\0put\n")[:2] ==
          (0, b"in\0put\nb c\n/etc\n"), g)
    code, out, err = exec_("foreign", "head", "-c", "3000000", "/dev/zero")
    check("foreign: much output", code == 0 and out == bytes(3000000), g)
    with open(work + "/much", "wb") as f:
        f.write(os.urandom(5000001))
    copied = [subprocess.run([LODGE, "cp", *w], stderr=subprocess.PIPE).returncode
              for w in ((work + "/much", "foreign:/root/much"), ("foreign:/root/much", work + "/again"))]
    check("foreign: files there and back %s" % copied, copied == [0, 0] and
          open(work + "/much", "rb").read() == open(work + "/again", "rb").read(), g)
    check("foreign: a signal", exec_("foreign", "sh", "-c", "kill -9 $$")[0] == 137, g)
    check("foreign: no such program", exec_("foreign", "/no/such")[0] == 127, g)
    code, out, err = exec_("-t", "foreign", "ls")
    check("foreign: no terminals: %s" % err, code == 125 and b"terminals" in err, g)
    many = [subprocess.Popen([LODGE, "exec", "foreign", "sh", "-c", "sleep 1; echo %d" % i], stdout=subprocess.PIPE)
            for i in range(5)]
    check("foreign: several at once", [p.communicate()[0] for p in many] == [b"%d\n" % i for i in range(5)], g)
    check("foreign: stops", subprocess.run([LODGE, "stop", "-t", "60", "foreign"], stderr=subprocess.PIPE).stderr == b"", g)
    ends("foreign again", g)


def unnamed():
    g = start("unnamed")
    if g:
        check("unnamed: starts from the image", g.run("test -e /root/file")[0] == 1, g)
        g.type("poweroff")
        ends("unnamed", g)


def layer():
    """Debian on a qcow2 layer over the image's own disk: it boots, writes, is killed, boots again."""
    image = json.loads(subprocess.check_output([LODGE, "image", "inspect", "--arch", ARCH, "debian"]))
    disk, behind = work + "/layer.qcow2", image["disk_path"]
    subprocess.run([LODGE, "image", "create", "-f", "qcow2", "-b", behind, "-F", "raw", disk], check=True)
    how = ["--kernel", image["kernel_path"], "--initrd", image["initrd_path"], "--append", image["append"],
           "--disk", disk + ",format=qcow2,backing", "--net", "none"]

    def booted(name):
        g = Debian(*ENGINE, *how)
        return g if check(name + ": login prompt and shell", tried(g.login), g) else g.kill()

    g = booted("layer")
    if not g:
        return
    want = hashlib.sha256(lines(300000)).hexdigest()
    check("layer: writes", g.says("seq 1 300000 > f; sync; sha256sum f", want, LONG), g)
    check("layer: trims", g.run("fstrim / || true; sync", LONG)[0] == 0, g)
    g.type("while :; do cp f g; sync; rm g; done &")
    time.sleep(3)
    g.kill()
    ends("layer: killed", g, -signal.SIGKILL)
    check("layer: killed, it is sound", subprocess.run(["qemu-img", "check", "-q", disk]).returncode in (0, 3))
    g = booted("layer again")
    if not g:
        return
    check("layer again: nothing is lost", g.says("sha256sum f", want, LONG), g)
    g.type("poweroff")
    ends("layer again", g)
    check("layer: clean", subprocess.run(["qemu-img", "check", "-q", disk]).returncode == 0 or
          subprocess.run([LODGE, "image", "check", "-r", "leaks", disk]).returncode == 0)


for p in (debian, foreign_agent, unnamed, layer, runtimes):
    if len(sys.argv) < 2 or p.__name__ in sys.argv[1:]:
        part(p)
finish()
