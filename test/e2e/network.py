"""Software networks end to end: guests of both CPUs find each other by name, cannot pass for one
another, see nothing of other networks, and get over the death of their switch."""
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

from built_in import lines, sha
from guest import LODGE, Listener, boots, check, ends, finish, free_port, part, refuses, work

os.environ["LODGE_HOME"] = work + "/home"
RISCV, AMD64 = os.environ["GUEST"], os.environ["AMD64"]
WAIT = "for i in $(seq 100); do ip -4 addr show eth0 | grep -q inet && break; usleep 200000; done"
IP = r"inet (\d+\.\d+\.\d+\.\d+)"


def guest(name, *args, image=RISCV, append=""):
    arch = ["--arch", "amd64"] if image == AMD64 else []
    return boots(name, *arch, "--kernel", image + "/kernel", "--initrd", image + "/initrd", "--memory", "512M",
                 "--append", "console=ttyS0 quiet " + append, "--name", name, *args)


def lodge(*args):
    p = subprocess.run([LODGE, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def create(name, *args):
    code, out, said = lodge("network", "create", *args, name)
    check("network create %s: %s" % (name, said), code == 0 and out == name + "\n")


def inspect(name):
    return json.loads(lodge("network", "inspect", name)[1])[0]


def member(network, name):
    return [g for g in inspect(network)["guests"] if g["name"] == name][0]


def address(g):
    return re.search(IP, g.run(WAIT + "; ip -4 addr show eth0")[1]).group(1)


def number(g, what):
    return int(re.search(r"^\d+$", g.run("cat /sys/class/net/eth0/statistics/" + what)[1], re.M).group())


def pings(g):
    return g.run("grep ^Icmp: /proc/net/snmp | cut -d' ' -f 1-10 | sed 1d")[1]


def leave(*guests):
    for g in guests:
        g.type("exit")
    for g in guests:
        ends("leaves", g)


def switch_pid(name):
    return int(re.search(r"^(\d+)", subprocess.run(
        ["pgrep", "-f", "--", "--root %s network serve --detach %s$" % (os.environ["LODGE_HOME"], name)],
        capture_output=True, text=True).stdout).group())


def by_name():
    create("lan")
    create("other", "--isolated")
    web, db = guest("web", "--net", "lan"), guest("db", "--net", "lan", image=AMD64)
    third, far = guest("third", "--net", "lan"), guest("far", "--net", "other")
    if not (web and db and third and far):
        return
    ips = {g: address(g) for g in (web, db, third, far)}
    check("names: the switch says the same", member("lan", "web")["ip"] == ips[web])
    check("names: ls counts them", re.search(r"^lan .* 3$", lodge("network", "ls")[1], re.M))
    check("names: web finds db", web.says("ping -c 3 -W 5 db", "^64 bytes from " + re.escape(ips[db])), web)
    check("names: db finds web.lan", db.says("ping -c 3 -W 5 web.lan", "^64 bytes from " + re.escape(ips[web])), db)
    check("names: nobody is nobody", web.says("nslookup nobody", "NXDOMAIN"), web)
    check("names: an address has a name", web.says("nslookup " + ips[db], r"name = db\.lan"), web)
    check("names: not far", web.run("nslookup far")[0] != 0, web)
    before, before_far = number(third, "rx_bytes"), number(far, "rx_packets")
    db.run("(nc -l -p 99 | sha256sum) > /tmp/sum & sleep 1")
    web.run("seq 1 300000 | nc -w 5 db 99")
    check("names: bytes arrive whole", db.says("sleep 1; cat /tmp/sum", sha(lines(300000))), db)
    check("third: hears nothing of it", number(third, "rx_bytes") - before < 10000, third)
    check("far: hears nothing at all", number(far, "rx_packets") == before_far, far)
    check("far: cannot reach them", far.run("ping -c 2 -W 2 " + ips[web])[0] != 0, far)
    far.run("ip addr add %s.250/24 dev eth0" % ips[third].rsplit(".", 1)[0])
    check("far: nor with an address of theirs", far.run("ping -c 2 -W 2 " + ips[web])[0] != 0, far)
    check("v6: neighbours answer", web.says("ping -6 -c 5 -W 2 ff02::1%eth0 | grep -c 'bytes from fe80::'", "^[2-9]|^1.")
          or web.says("sleep 2; ping -6 -c 5 -W 2 ff02::1%eth0", "bytes from fe80"), web)
    check("rm: not while they are there", "plugged in" in lodge("network", "rm", "lan")[2])
    leave(web, db, third, far)
    check("rm: afterwards", lodge("network", "prune")[1].split() == ["lan", "other"])


def uplinks():
    create("out")
    create("inside", "--isolated", "--subnet", "10.77.0.0/28")
    listener, port = Listener(), free_port()
    out = guest("out1", "--net", "out", "-p", "127.0.0.1:%d:8080" % port)
    inside = guest("in1", "--net", "inside")
    both = guest("both", "--net", "inside", "--net", "out", image=AMD64)
    if not (out and inside and both):
        return
    gate = inspect("out")["gateway"]
    address(out)
    check("nat: reaches this machine", out.says("(echo that is all; sleep 1) | nc %s %d" % (gate, listener.port), "^hello guest"), out)
    listener.join(30)
    check("nat: this machine heard it", listener.heard == b"that is all\n")
    out.run("mkdir -p /srv; head -c 300000 /dev/urandom > /srv/f; httpd -p 8080 -h /srv")
    want = re.search("[0-9a-f]{64}", out.run("sha256sum /srv/f")[1]).group()
    check("nat: a published port", fetched(port) == want, out)
    check("isolated: has its subnet", address(inside).startswith("10.77.0."), inside)
    check("isolated: no way out", inside.run("ip route | grep default")[0] != 0, inside)
    inside.run("ip route add default via 10.77.0.1")
    check("isolated: nobody at the gateway", inside.run("ping -c 2 -W 2 10.77.0.1")[0] != 0, inside)
    check("isolated: nor beyond", inside.run("nc -w 3 %s %d </dev/null" % (gate, listener.port))[0] != 0, inside)
    check("isolated: names all the same", inside.says("ping -c 2 -W 5 both", "bytes from 10.77.0."), inside)
    check("both: two cards", both.says("ip -4 addr", r"inet 10\.77\.0\.") and both.says("ip -4 addr", r"inet 10\.89\."), both)
    refuses("isolated: cannot publish", "isolated", "--kernel", RISCV + "/kernel", "--net", "inside", "-p", "1:1")
    refuses("a port that is taken", str(port), "--kernel", RISCV + "/kernel", "--net", "out", "-p", "127.0.0.1:%d:1" % port)
    leave(out, inside, both)


def fetched(port):
    for _ in range(20):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/f" % port, timeout=60) as r:
                return hashlib.sha256(r.read()).hexdigest()
        except OSError:
            time.sleep(1)


def spoofing():
    create("guarded")
    mallory, victim = guest("mallory", "--net", "guarded", image=AMD64), guest("victim", "--net", "guarded")
    if not (mallory and victim):
        return
    own, its = address(mallory), address(victim)
    check("spoof: at first all is well", mallory.run("ping -c 2 -W 5 victim")[0] == 0, mallory)
    before = pings(victim)
    false = its.rsplit(".", 1)[0] + ".3"
    mallory.run("killall udhcpc; sleep 1; ip addr add %s/24 dev eth0; ping -c 3 -W 1 -I %s %s" % (false, false, its))
    mallory.run("arping -U -c 3 -I eth0 -s %s %s" % (false, its))
    mallory.run("ip link set eth0 down; ip link set eth0 address 52:54:00:11:22:33; ip link set eth0 up; "
                "ip addr add %s/24 dev eth0; ping -c 3 -W 1 %s" % (own, its))
    check("spoof: nothing came through", pings(victim) == before, victim)
    check("spoof: nor is believed", not victim.says("ip neigh", re.escape(false) + " |52:54:00:11:22:33"), victim)
    refused = member("guarded", "mallory")["refused"]
    check("spoof: and was counted: %r" % refused, refused.get("mac_spoofed", 0) > 2 and
          refused.get("arp_spoofed", 0) > 2 and refused.get("ip4_spoofed", 0) > 2)
    mallory.run("ip link set eth0 down; ip link set eth0 address %s; ip link set eth0 up; ip addr flush dev eth0; "
                "ip addr add %s/24 dev eth0" % (member("guarded", "mallory")["mac"], own))
    check("spoof: honest again", mallory.run("ping -c 3 -W 5 " + its)[0] == 0, mallory)
    leave(mallory, victim)


def healing():
    create("frail")
    port = free_port()
    a, b = guest("a", "--net", "frail", "-p", "%d:8080" % port), guest("b", "--net", "frail", image=AMD64)
    if not (a and b):
        return
    ips, pid = (address(a), address(b)), switch_pid("frail")
    b.run("mkdir -p /srv; echo kept > /srv/f")
    a.run("mkdir -p /srv; echo kept > /srv/f; httpd -p 8080 -h /srv")
    check("heals: before", a.run("ping -c 1 -W 5 b")[0] == 0, a)
    b.run("sleep 600 | nc -l -p 98 > /tmp/said & sleep 2")  # what is typed is not for it
    a.run("(echo one; sleep 6; echo two) | nc b 98 > /dev/null & sleep 1")
    os.kill(pid, signal.SIGKILL)
    again = "for i in $(seq 60); do ping -c 1 -W 1 b > /dev/null && break; usleep 500000; done; ping -c 1 -W 5 b"
    check("heals: by name", a.run(again)[0] == 0, a)
    check("heals: another switch", switch_pid("frail") != pid)
    check("heals: same addresses", tuple(g["ip"] for g in sorted(inspect("frail")["guests"], key=lambda g: g["name"])) == ips)
    check("heals: connections live on", b.says("for i in $(seq 30); do grep -q two /tmp/said && break; sleep 1; done; cat /tmp/said", "^two"), b)
    check("heals: published again", fetched(port) == hashlib.sha256(b"kept\n").hexdigest(), a)
    a.kill()
    a.end()
    a = guest("a", "--net", "frail", "-p", "%d:8080" % port)
    check("killed guest: comes back with its address", a and address(a) == ips[0], a)
    leave(a, b)
    for _ in range(50):
        if lodge("network", "rm", "frail")[0] == 0:
            break
        time.sleep(0.2)
    check("heals: nothing is left", not os.path.exists(os.environ["LODGE_HOME"] + "/networks/frail"))


def words():
    create("lan")
    check("create: not twice", "already" in lodge("network", "create", "lan")[2])
    check("create: no overlap", "has it" in lodge("network", "create", "lan2", "--subnet", inspect("lan")["subnet"])[2])
    check("create: a bad subnet", "10.89.0.0/24" in lodge("network", "create", "lan2", "--subnet", "10.0.0.1")[2])
    check("create: a word with a meaning", "meaning" in lodge("network", "create", "user")[2])
    check("ls: as JSON", json.loads(lodge("network", "ls", "--format", "json")[1])[0]["name"] == "lan")
    check("rm: what is not there", "there is none" in lodge("network", "rm", "nothing")[2])
    refuses("a network that is not there", "lodge network create", "--kernel", RISCV + "/kernel", "--net", "nothing")
    refuses("a rate that is none", "10M", "--kernel", RISCV + "/kernel", "--cap-rate", "fast")
    refuses("a tap that is not ours", "tap", "--kernel", RISCV + "/kernel", "--net", "tap:a-name-that-is-too-long")
    check("rm", lodge("network", "rm", "lan")[1] == "lan\n")


def capped():
    create("slow")
    a, b = guest("slow-a", "--net", "slow", "--cap-rate", "2M"), guest("slow-b", "--net", "slow")
    if not (a and b):
        return
    address(a), address(b)
    b.run("(nc -l -p 97 | wc -c) > /tmp/n & sleep 1")
    began = time.monotonic()
    a.run("sleep 1; head -c 1000000 /dev/zero | nc slow-b 97")
    b.run("for i in $(seq 60); do [ -s /tmp/n ] && break; sleep 1; done")
    took = time.monotonic() - began
    check("cap: all arrives", b.says("cat /tmp/n", "^1000000"), b)
    check("cap: no faster than 2 Mbit/s (%.1f s)" % took, took > 3.5)
    leave(a, b)


def tap():
    if subprocess.run(["unshare", "-n", "true"]).returncode or not os.access("/dev/net/tun", os.W_OK):
        print("SKIPPED: a tap needs root, network namespaces and /dev/net/tun")
        return
    p = subprocess.run(["unshare", "-n", sys.executable, "-B", __file__, "tapped"], capture_output=True, text=True)
    check("tap: in a namespace of its own:\n" + p.stdout + p.stderr, p.returncode == 0)


def tapped():
    g = guest("tapped", "--net", "tap:t0")
    if not g:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # SIOCSIFADDR
        fcntl.ioctl(s, 0x8916, struct.pack("16sHH4s8x", b"t0", socket.AF_INET, 0, socket.inet_aton("10.9.9.1")))
    g.run("ip addr add 10.9.9.2/8 dev eth0")
    check("tap: the host answers", g.says("ping -c 3 -W 5 10.9.9.1", "^64 bytes from 10.9.9.1"), g)
    refuses("a tap in use", "another program", "--kernel", RISCV + "/kernel", "--net", "tap:t0")
    leave(g)


for fn in (words, by_name, uplinks, spoofing, healing, capped, tap, tapped):
    if len(sys.argv) < 2 and fn != tapped or fn.__name__ in sys.argv[1:]:
        part(fn)
finish()
