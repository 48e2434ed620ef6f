"""The figures, a function each. Peers take turns, so that what else this machine does falls on both. A
figure is wall time where that is what its user waits for, and CPU time of all processes of the machine
where it is throughput: others' work is not in that."""
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

from machine import Dead, Machine, cpu_of, family, memory_of
from place import CC, TOP

MIB, GB = 1 << 20, 1e9


class Figures:
    def __init__(self):
        self.all = {}

    def add(self, peer, name, value, unit, aim=None):
        f = self.all.setdefault(name, {"unit": unit, "aim": aim, "lodge": [], "qemu": []})
        f[peer].append(round(value, 6))


def done(said):
    n, seconds = re.search(r"done (\d+) ([\d.]+)", said).groups()
    return float(n), float(seconds)


def rated(figures, peer, what, machine, command):
    """Throughput by the guest's own clock, and what it cost."""
    said, cpu = machine.cost(command)
    n, seconds = done(said)
    figures.add(peer, what, n / seconds / 1e6, "MB/s")
    figures.add(peer, what + ", cpu", cpu / (n / GB), "cpu s/GB")


# ---- starting
def start(place, figures):
    """From exec to what the guest's first instructions say on its console."""
    elf = place.dir + "/first"
    flags = ["-march=rv64gc", "-mabi=lp64d", "-Wl,-Ttext=0x80000000"] if place.arch == "riscv64" else ["-m32", "-Wl,-Ttext=0x100000"]
    subprocess.run([CC[place.arch], *flags, "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-N", "-Wl,--no-warn-rwx-segments",
                    "%s/bench/guests/first-%s.S" % (TOP, place.arch), "-o", elf], check=True)
    bios = ["-bios", "none"] if place.arch == "riscv64" else []
    commands = {
        "lodge": [place.program, "run", "--arch", place.arch, "-m", "512M", "--net", "none", "--kernel", elf],
        "qemu": [*place.qemu_words("-nic", "none", *bios)]}
    commands["qemu"][commands["qemu"].index("-kernel") + 1] = elf
    del commands["qemu"][commands["qemu"].index("-initrd"):][:2]
    for _ in range(5 * place.runs):
        for peer in place.peers:
            with place.turn(peer):
                m = Machine(commands[peer], place.env)
                m.expect("!")
                figures.add(peer, "first instruction", 1000 * (time.monotonic() - m.begun), "ms")
                m.end()
    for _ in range(place.runs):
        for peer in place.peers:
            with place.turn(peer):
                m = place.lodge_machine() if peer == "lodge" else place.qemu_machine()
                m.shell()
                figures.add(peer, "to a shell, booted", time.monotonic() - m.begun, "s")
                figures.add(peer, "to a shell, booted, cpu", cpu_of(m.pids()), "cpu s")
                m.end()


# ---- snapshots
def saved_in_qemu(place):
    """The file of a machine at its shell."""
    path, monitor = place.monitor()
    m = place.qemu_machine(monitor=path).shell()
    m.settled()
    file = place.dir + "/qemu.state"
    said = monitor().ask('migrate "exec:cat > %s"' % file)
    m.end()
    if not os.path.exists(file) or os.path.getsize(file) < 4 * MIB:
        raise Dead("QEMU did not save: " + said)
    return file


def restore(place, figures):
    """Until the shell of a guest that was saved has answered."""
    name = place.name()
    place.lodge("run", "-d", "--name", name, *place.lodge_words())
    m = place.lodge_attach(name)
    m.run("true")
    m.settled()
    place.lodge("snapshot", name, "ready")
    m.end()
    state = "%s/home/guests/%s/snapshots/ready" % (place.dir, name)
    file = None
    with place.turn("qemu"):
        file = saved_in_qemu(place) if "qemu" in place.peers else None
    for i in range(3 * place.runs):
        m = place.lodge_machine("--restore", state)
        figures.add("lodge", "an answer, run --restore", 1000 * m.answers(), "ms", "<50")
        figures.add("lodge", "an answer, run --restore, cpu", 1000 * cpu_of(m.pids()), "ms")
        figures.add("lodge", "its memory then", memory_of(m.pids(), "Pss") / 1e6, "MB")
        m.end()
        begun = time.monotonic()
        place.lodge("restore", name, "ready")
        figures.add("lodge", "lodge restore", 1000 * (time.monotonic() - begun), "ms")
        m = place.lodge_attach(name)
        m.begun = begun
        figures.add("lodge", "an answer, lodge restore", 1000 * m.answers(), "ms", "<50")
        m.end()
        with place.turn("qemu"):
            if file:
                m = place.qemu_machine("-incoming", "exec:cat " + file)
                figures.add("qemu", "an answer, run --restore", 1000 * m.answers(), "ms", "<50")
                figures.add("qemu", "an answer, run --restore, cpu", 1000 * cpu_of(m.pids()), "ms")
                figures.add("qemu", "its memory then", memory_of(m.pids(), "Pss") / 1e6, "MB")
                m.end()
    place.lodge("rm", "-f", name)


def clones(place, figures):
    """What 50 guests that go on from one snapshot hold, shared pages counted once; each has answered."""
    count = 50
    name = place.name()
    place.lodge("run", "-d", "--name", name, *place.lodge_words())
    place.lodge_attach(name).run("true")
    place.lodge("snapshot", name, "ready")
    names = ["%sc%d" % (name, i) for i in range(count)]
    begun = time.monotonic()
    for n in names:
        place.lodge("clone", "--tag", "ready", "--start", name, n)
    figures.add("lodge", "making one of 50", 1000 * (time.monotonic() - begun) / count, "ms")
    for n in names:
        m = place.lodge_attach(n)
        m.run("true")
        m.end()
    pids = [place.state(n)["pid"] for n in names]
    figures.add("lodge", "50 clones of 512 MiB", memory_of(family(*pids), "Pss") / 1e6, "MB")
    figures.add("lodge", "of it, their memory", sum(place.stats(n)["memory_resident"] for n in names) / 1e6, "MB")
    for n in names + [name]:
        place.lodge("rm", "-f", n)


# ---- moving
def move(place, figures):
    """How long a guest stands that writes 200 MB a second to 64 MB of its 512."""
    busy = "/bench/work dirty 64 & sleep 1"
    for _ in range(place.runs):
        name = place.name()
        place.lodge("run", "-d", "--name", name, *place.lodge_words())
        m = place.lodge_attach(name)
        m.run("true")
        m.run(busy)
        m.end()
        begun = time.monotonic()
        place.lodge("move", name, "--to-store", place.dir + "/other")
        figures.add("lodge", "it took", time.monotonic() - begun, "s")
        stood = re.search(r"standing for (\d+) ms", place.lodge("inspect", name))
        figures.add("lodge", "it stood", float(stood.group(1)), "ms", "<100")
        m = place.lodge_attach(name, home="other")
        m.run("true")
        m.end()
        place.lodge("rm", "-f", name, home="other")
        place.lodge("rm", "-f", name)
        with place.turn("qemu"):
            if "qemu" in place.peers:
                move_qemu(place, figures, busy)


def move_qemu(place, figures, busy):
    (path, monitor), (there_path, _), link = place.monitor(), place.monitor(), "unix:%s/link" % place.dir
    m = place.qemu_machine(monitor=path).shell()
    m.run(busy)
    there = place.qemu_machine("-incoming", link, monitor=there_path)
    h = monitor()
    time.sleep(0.5)
    h.ask("migrate_set_parameter downtime-limit 100")
    h.ask("migrate_set_parameter max-bandwidth 10G")
    begun = time.monotonic()
    h.ask("migrate -d " + link)
    said = ""
    while "Migration status: completed" not in said:
        if time.monotonic() > begun + 120 or "failed" in said:
            raise Dead("QEMU does not move: " + said)
        time.sleep(0.05)
        said = h.ask("info migrate")
    figures.add("qemu", "it took", float(re.search(r"total time: (\d+)", said).group(1)) / 1000, "s")
    figures.add("qemu", "it stood", float(re.search(r"downtime: (\d+)", said).group(1)), "ms", "<100")
    there.run("true")
    there.end()
    m.end()


# ---- devices
# What is done to a disk, in this order: a pattern of work.c, its name, MiB.
RAW = [("read", "sequential read", 1024), ("read1", "4 KiB reads in a row", 48), ("rread1", "random 4 KiB reads", 48),
       ("rread", "random 4 KiB reads, 16 deep", 96), ("write", "sequential write, flushed", 512),
       ("rwrite1", "random 4 KiB writes", 16), ("rwrite", "random 4 KiB writes, 16 deep", 96)]
LAYER = [*RAW[:4], ("rwrite1", "random 4 KiB first writes", 16), ("write", "sequential first write, flushed", 512),
         ("write", "sequential write, flushed", 512), ("rwrite1", "random 4 KiB writes", 16),
         ("rwrite", "random 4 KiB writes, 16 deep", 96), ("read1", "4 KiB reads in a row, of its own", 48)]


def with_disk(place, peer, path, format):
    if peer == "lodge":
        return place.lodge_machine("--disk", path + (",format=qcow2,backing" if format == "qcow2" else ""))
    return place.qemu_machine("-drive", "file=%s,format=%s,if=none,id=d" % (path, format), "-device", "virtio-blk-pci,drive=d")


def disk(place, figures):
    """A raw file, and an empty layer over it as guests get one over their image."""
    path = place.disk("disk", 1024)
    for _ in range(place.runs):
        for format, patterns in ("raw", RAW), ("qcow2", LAYER):
            for peer in place.peers:
                with place.turn(peer):
                    on = path
                    if format == "qcow2":
                        on = "%s/%s.qcow2" % (place.dir, place.name())
                        place.lodge("image", "create", "-f", "qcow2", "-b", path, "-F", "raw", on)
                    m = with_disk(place, peer, on, format).shell()
                    for pattern, what, mib in patterns:
                        rated(figures, peer, ("raw: " if on == path else "layer: ") + what, m,
                              "/bench/work disk %s /dev/vda %d" % (pattern, mib))
                    m.end()
                    if on != path:
                        os.unlink(on)
    os.unlink(path)


class Sink(threading.Thread):
    """A server on loopback: hears one caller to the end, and says so."""

    def __init__(self):
        super().__init__(daemon=True)
        self.s = socket.create_server(("127.0.0.1", 0))
        self.port = self.s.getsockname()[1]
        self.start()

    def run(self):
        c, _ = self.s.accept()
        room = bytearray(1 << 20)
        while c.recv_into(room):
            pass
        c.sendall(b"!")
        c.close()
        self.s.close()


def feed(port, mib):
    """The other way: the host sends to a port that is passed on."""
    c = socket.create_connection(("127.0.0.1", port))
    piece = b"x" * MIB
    for _ in range(mib):
        c.sendall(piece)
    c.shutdown(socket.SHUT_WR)
    c.recv(1)
    c.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


HAS_ADDRESS = "for i in $(seq 100); do ip -4 addr show eth0 | grep -q inet && break; usleep 100000; done"


def net(place, figures):
    """To the host and from it, through the user-mode network of either; and between two guests."""
    for _ in range(place.runs):
        for peer in place.peers:
            with place.turn(peer):
                port = free_port()
                m = (place.lodge_machine("-p", "%d:5001" % port, net="user") if peer == "lodge" else
                     place.qemu_machine("-nic", "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:%d-:5001" % port, net=True))
                m.shell()
                m.run(HAS_ADDRESS)
                rated(figures, peer, "guest to host", m, "/bench/work send 10.0.2.2 %d 256" % Sink().port)
                m.type("/bench/work sink 5001")
                m.expect("^listening")
                pids = m.pids()
                before = cpu_of(pids)
                threading.Thread(target=feed, args=(port, 256), daemon=True).start()
                n, seconds = done(m.expect(r"^done .*\n").group())
                figures.add(peer, "host to guest", n / seconds / 1e6, "MB/s")
                figures.add(peer, "host to guest, cpu", (cpu_of(pids) - before) / (n / GB), "cpu s/GB")
                m.end()
        for peer in place.peers:
            with place.turn(peer):
                between(place, figures, peer)


def pair_of(place, peer):
    """Two machines on one network, and what runs it."""
    if peer == "qemu":
        at = "%s/wire%s" % (place.dir, place.name())
        ends = ["stream,server=on", "stream,server=off"]
        return [place.qemu_machine("-netdev", "%s,id=n,addr.type=unix,addr.path=%s" % (e, at), "-device",
                                   "virtio-net-pci,netdev=n,mac=52:54:00:12:34:%02x" % i, net=True).shell()
                for i, e in enumerate(ends)], [], None
    name = place.name()
    place.lodge("network", "create", "--isolated", name)
    switch = subprocess.Popen([place.program, "network", "serve", name], env={**os.environ, **place.env})
    time.sleep(0.3)
    return [place.lodge_machine(net=name).shell() for _ in range(2)], [switch.pid], (name, switch)


def between(place, figures, peer):
    pair, others, network = pair_of(place, peer)
    try:
        for i, m in enumerate(pair):
            m.run("killall udhcpc || true; ip addr flush dev eth0; ip addr add 10.9.9.%d/24 dev eth0; ip link set eth0 up" % (i + 1)
                  if peer == "qemu" else HAS_ADDRESS)
        to = re.search(r"inet (\d+\.\d+\.\d+\.\d+)", pair[1].run("ip -4 addr show eth0")).group(1)
        pair[1].type("/bench/work sink 5001")
        pair[1].expect("^listening")
        pids = family(*others, *(m.p.pid for m in pair))
        before = cpu_of(pids)
        n, seconds = done(pair[0].run("/bench/work send %s 5001 256" % to))
        figures.add(peer, "guest to guest", n / seconds / 1e6, "MB/s")
        figures.add(peer, "guest to guest, cpu", (cpu_of(pids) - before) / (n / GB), "cpu s/GB")
    finally:
        for m in pair:
            m.end()
        if network:
            network[1].kill()
            network[1].wait()
            place.lodge("network", "rm", network[0], may_fail=True)


# ---- shared folders
def tree(place):
    """6,000 files in 300 folders, 4 KiB each more or less, as an archive."""
    at = place.dir + "/tree"
    for d in range(300):
        folder = "%s/d%d/e%d" % (at, d % 20, d)
        os.makedirs(folder)
        for f in range(20):
            with open("%s/f%d.c" % (folder, f), "wb") as out:
                out.write(b"int x;\n" * (100 + 977 * (d * 20 + f) % 1000))
    subprocess.run(["tar", "-C", place.dir, "-cf", place.dir + "/tree.tar", "tree"], check=True)
    subprocess.run(["rm", "-rf", at], check=True)


def share(place, figures):
    folder = place.folder + "/share"
    os.makedirs(folder)
    tree(place)
    shutil.move(place.dir + "/tree.tar", folder)
    for _ in range(place.runs):
        for peer in place.peers:
            with place.turn(peer):
                m = shared(place, peer, folder)
                m.shell()
                m.run("mkdir -p /w; modprobe virtiofs; mount -t virtiofs share0 /w")
                for what, command in (
                        ("untar of 6,000 files", "cd /w && tar xf tree.tar && sync; cd /"),
                        ("first look at them", "umount /w; mount -t virtiofs share0 /w; /bench/work look /w/tree"),
                        ("second look", "/bench/work look /w/tree"),
                        ("reading them", "umount /w; mount -t virtiofs share0 /w; tar cf - /w/tree | cat >/dev/null"),
                        ("removing them", "rm -r /w/tree")):
                    begun = time.monotonic()
                    _, cpu = m.cost(command)
                    figures.add(peer, what, time.monotonic() - begun, "s")
                    figures.add(peer, what + ", cpu", cpu, "cpu s")
                m.end()
                subprocess.run(["rm", "-rf", folder + "/tree"])


# The kernel's headers by Debian's git; a folder that was just mounted has nothing of it in the guest's memory.
# What is added is not compressed, and goes into one pack instead of a file each: the first is not the folder's
# work, and the second is untar's once more, five times as long.
AGAIN = "umount /mnt/work; mount -t virtiofs share0 /mnt/work; "
GIT = [("untar of 9,000 files", "cd /mnt/work && tar xf tree.tar && sync; cd /"),
       ("git init, add, commit", "@git init -q . && git config core.compression 0 && git -c core.bigFileThreshold=1 add -A && git commit -qm all"),
       ("git status, cold", AGAIN + "@git status --porcelain"),
       ("git status, warm", "@git status --porcelain"),
       ("git grep, cold", AGAIN + "@git grep -c EXPORT_SYMBOL | wc -l"),
       ("git checkout of all", "rm -r /mnt/work/tree/include; @git checkout -q ."),
       ("rm -r", "rm -r /mnt/work/tree")]


def git(place, figures):
    """Minutes a peer: so a third of the runs, and it is said how far it is."""
    folder, made = place.folder + "/git", "%s/git.%s" % (place.out, place.arch)
    subprocess.run([TOP + "/bench/guests/git", place.arch, made], check=True)
    os.makedirs(folder)
    shutil.copy(made + "/tree.tar", folder)
    disk = "%s/disk.%s" % (made, place.arch)
    words = {"lodge": ["--disk", disk + ",ro"],
             "qemu": ["-drive", "file=%s,format=raw,if=none,readonly=on,id=d" % disk, "-device", "virtio-blk-pci,drive=d"]}
    for _ in range(max(1, place.runs // 3)):
        for peer in place.peers:
            with place.turn(peer):
                m = shared(place, peer, folder, *words[peer])
                m.shell()
                m.run("modprobe virtiofs; mount -t ext4 -o ro /dev/vda /mnt && mount -t virtiofs share0 /mnt/work && "
                      "for d in dev proc; do mount -o bind /$d /mnt/$d; done; mount -t tmpfs t /mnt/tmp; "
                      "printf '[user]\\nname = a\\nemail = a@b\\n[safe]\\ndirectory = *\\n' >/mnt/tmp/.gitconfig")
                for what, command in GIT:
                    command = re.sub("@(.*)", r"HOME=/tmp chroot /mnt sh -c 'cd /work/tree && \1'", command)
                    begun = time.monotonic()
                    _, cpu = m.cost(command, 3600)
                    figures.add(peer, what, time.monotonic() - begun, "s")
                    figures.add(peer, what + ", cpu", cpu, "cpu s")
                    print("bench: %s: %s: %.1f CPU seconds" % (peer, what, cpu), file=sys.stderr)
                m.end()
                subprocess.run(["rm", "-rf", folder + "/tree"])


def shared(place, peer, folder, *more):
    if peer == "lodge":
        return place.lodge_machine("-v", folder + ":/lodge-share", *more)
    path = "%s/fs%s" % (place.dir, place.name())
    server = subprocess.Popen(["/usr/lib/qemu/virtiofsd", "--socket-path=" + path, "-o", "source=" + folder, "-o",
                               "cache=auto"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(path):
        if server.poll() is not None:
            raise Dead("virtiofsd does not start")
        time.sleep(0.05)
    numa = (["-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-machine", "memory-backend=mem"])
    return place.qemu_machine(*numa, "-chardev", "socket,id=c,path=" + path, "-device", "vhost-user-fs-pci,chardev=c,tag=share0",
                              *more, helpers=[server.pid])


# ---- memory
def memory(place, figures):
    """What comes back of 1 GiB that a guest has freed, and when."""
    for _ in range(place.runs):
        for peer in place.peers:
            with place.turn(peer):
                if peer == "lodge":
                    name = place.name()
                    m = place.lodge_machine("--name", name, "--rm", memory=2048)
                    resident = lambda: place.stats(name)["memory_resident"]
                else:
                    m = place.qemu_machine("-device", "virtio-balloon-pci,free-page-reporting=on", memory=2048)
                    resident = lambda: memory_of([m.p.pid], "Rss")
                m.shell()
                m.run("modprobe virtio_balloon; mount -t tmpfs -o size=95% t /mnt; sleep 5")
                empty = resident()
                m.run("dd if=/dev/zero of=/mnt/file bs=1M count=1024")
                full = resident()
                cpu = cpu_of(m.pids())
                m.run("rm /mnt/file")
                begun, t95, at5 = time.monotonic(), None, None
                while time.monotonic() < begun + 30 and (t95 is None or at5 is None):
                    part, t = (full - resident()) / GB * 1e9 / (1 << 30), time.monotonic() - begun
                    if t95 is None and part >= 0.95:
                        t95 = t
                    if at5 is None and t >= 5:
                        at5 = part
                    time.sleep(0.1)
                figures.add(peer, "it took up", (full - empty) / 1e6, "MB")
                figures.add(peer, "is back after 5 s", 100 * at5, "%", ">95")
                figures.add(peer, "95 % are back after", t95 or 30, "s", "<5")
                figures.add(peer, "to give it back, cpu", cpu_of(m.pids()) - cpu, "cpu s")
                m.end()


ALL = [start, restore, clones, move, disk, net, share, git, memory]
