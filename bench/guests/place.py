"""What the parts are measured with: a store of their own, the built-in guest's kernel, and its initrd
with bench/guests/work in it; and how both peers start a machine of these."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from machine import Dead, Hmp, Machine

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
QEMU = {"riscv64": ["qemu-system-riscv64", "-M", "virt"],
        "amd64": ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max"]}
CC = {"riscv64": "riscv64-linux-gnu-gcc", "amd64": "gcc"}


class Place:
    def __init__(self, arch, runs, qemu):
        build = os.environ.get("BUILD") or "build"
        self.arch, self.runs = arch, runs
        self.out = os.path.join(TOP, build, "bench")
        self.dir = os.path.join(self.out, "guests." + arch)
        self.program = os.environ.get("LODGE") or os.path.join(TOP, build, "lodge")
        self.peers = ["lodge"] + (["qemu"] if qemu and shutil.which(QEMU[arch][0]) else [])
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        # What guests share is in memory: ext4 looks, for each file it makes, at all that were removed in the last
        # minutes, whoever did it; its time would be ours.
        self.folder = tempfile.mkdtemp(prefix="lodge-bench.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else self.dir)
        self.env = {"LODGE_HOME": self.dir + "/home"}
        self.made = 0
        self.build_guest()

    def leave(self):
        for home in "home", "other":
            if os.path.isdir(self.dir + "/" + home):
                for name in self.names(home):
                    self.lodge("rm", "-f", name, home=home, may_fail=True)
        for folder in self.dir, self.folder:
            shutil.rmtree(folder, ignore_errors=True)

    def names(self, home="home"):
        at = self.dir + "/" + home + "/guests"
        return [n for n in os.listdir(at) if not n.startswith(".")] if os.path.isdir(at) else []

    def name(self):
        self.made += 1
        return "g%d" % self.made

    def build_guest(self):
        ask = [self.program, "image", "inspect", "linux", "--arch", self.arch]
        if subprocess.run(ask, capture_output=True).returncode:
            subprocess.run([self.program, "image", "build", "linux", "--arch", self.arch], check=True)
        image = json.loads(subprocess.run(ask, capture_output=True, check=True).stdout)
        self.kernel = image["kernel_path"]
        self.initrd = self.dir + "/initrd"
        tree = self.dir + "/tree"
        os.makedirs(tree + "/bench")
        subprocess.run([CC[self.arch], "-O2", "-std=gnu17", "-static", TOP + "/bench/guests/work.c", "-o",
                        tree + "/bench/work", "-lpthread"], check=True)
        more = subprocess.run("find bench | cpio -o -H newc -R 0:0 --quiet", shell=True, cwd=tree, check=True,
                              stdout=subprocess.PIPE).stdout
        with open(image["initrd_path"], "rb") as f:
            first = f.read()
        with open(self.initrd, "wb") as f:
            f.write(first + b"\0" * (-len(first) % 4) + more)
        shutil.rmtree(tree)

    @contextlib.contextmanager
    def turn(self, peer):
        """A peer's turn: one that fails is missing, unless it is ours."""
        try:
            yield
        except Dead as why:
            if peer == "lodge":
                raise
            print("bench: %s: %s" % (peer, why), file=sys.stderr)

    # ---- commands
    def lodge(self, *args, home="home", may_fail=False):
        p = subprocess.run([self.program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, env={**os.environ, "LODGE_HOME": self.dir + "/" + home})
        if p.returncode and not may_fail:
            raise Dead("lodge %s: %s" % (" ".join(args), p.stdout.strip()))
        return p.stdout

    def stats(self, name):
        return json.loads(self.lodge("stats", "--format", "json", name))[0]

    def state(self, name):
        said = json.loads(self.lodge("inspect", name))
        return said[0] if isinstance(said, list) else said

    def disk(self, name, mib):
        path = "%s/%s" % (self.dir, name)
        with open(path, "wb") as f:
            for _ in range(mib):
                f.write(b"\x33" * (1 << 20))
            os.fsync(f.fileno())
        return path

    # ---- machines
    def lodge_words(self, *more, memory=512, net="none"):
        return ["--arch", self.arch, "-m", "%dM" % memory, "--net", net, "--kernel", self.kernel, "--initrd", self.initrd,
                "--append", "console=ttyS0 quiet", *more]

    def lodge_machine(self, *more, helpers=(), **kw):
        return Machine([self.program, "run", *self.lodge_words(*more, **kw)], self.env, helpers)

    def lodge_attach(self, name, home="home"):
        return Machine([self.program, "attach", name], {"LODGE_HOME": self.dir + "/" + home})

    def qemu_words(self, *more, memory=512, monitor="none", append=""):
        if monitor != "none":
            monitor = "unix:%s,server,nowait" % monitor
        return [*QEMU[self.arch], "-m", "%dM" % memory, "-display", "none", "-serial", "stdio", "-monitor", monitor,
                "-kernel", self.kernel, "-initrd", self.initrd, "-append", "console=ttyS0 quiet " + append, *more]

    def qemu_machine(self, *more, helpers=(), net=False, **kw):
        return Machine(self.qemu_words(*([] if net else ["-nic", "none"]), *more, **kw), helpers=helpers)

    def monitor(self):
        path = "%s/m%s" % (self.dir, self.name())
        return path, lambda: Hmp(path)
