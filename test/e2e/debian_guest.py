"""The debian image's guest, as its user at the console has it, whatever its CPU is: ARCH, ENGINE."""
import os
import socket
import subprocess
import time

from guest import Guest, check, tried, work

os.environ.setdefault("LODGE_HOME", work + "/home")
ARCH = os.environ.get("ARCH") or "riscv64"
ENGINE = ["--arch", ARCH, "--engine", os.environ.get("ENGINE") or "auto"]
LONG = 900


class Debian(Guest):
    def login(self):
        self.expect(r"[a-z0-9]+ login: ", LONG)
        self.type("root")
        self.expect(r"root@[a-z0-9]+:~# ", LONG)
        # bash edits lines with escapes; a plain prompt keeps what it says readable
        self.type("bind 'set enable-bracketed-paste off'; export TERM=dumb PAGER=cat SYSTEMD_COLORS=0")
        return self.run("true", LONG)[0] == 0


def start(name, *args):
    g = Debian(*ENGINE, *args, "debian")
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


def ssh(g, port, command):
    """What a command says that root, let in by a key, runs through ssh."""
    key = work + "/key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with open(key + ".pub") as f:
        g.run("mkdir -p .ssh; echo '%s' >> .ssh/authorized_keys" % f.read().strip())
    p = subprocess.run(["ssh", "-q", "-p", str(port), "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
                        "-o", "UserKnownHostsFile=/dev/null", "-F", "/dev/null", "root@127.0.0.1", command],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=LONG)
    return p.stdout


def updates(g):
    """A mirror out of step with itself is no fault of the guest: then the main archive will do, under
    whichever of the release's names its lists fit what it signed."""
    update = "apt-get -q update -o APT::Update::Error-Mode=any"
    status, said = g.run(update, LONG)
    if status and ("Mirror sync in progress" in said or "is expired" in said):
        print("    the mirror's lists are not those it signed; trying the release's other name")
        g.run("cd /etc/apt; uri=$(sed -n 's/^URIs: *//p' sources.list.d/debian.sources | head -n 1); cd")
        g.run("rm /etc/apt/sources.list.d/*; echo deb $uri %s main > /etc/apt/sources.list" % {"riscv64": "stable", "amd64": "oldstable"}[ARCH])
        status, said = g.run(update, LONG)
    return status == 0
