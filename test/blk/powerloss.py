"""powerloss.py DISKOPS JOURNAL.so ROUNDS: a disk under load loses its power at any moment. What had
been synced is there; of what came after, any part may be. qemu-img may find leaks, nothing worse."""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

ops, preload, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
work = tempfile.mkdtemp(prefix="lodge-power.")
passed = failed = 0


def records(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        kind, off, n = struct.unpack_from("<QQQ", data, at)
        at += 24
        body = b""
        if chr(kind) == "w":
            body = data[at:at + n]
            at += n
        yield chr(kind), off, n, body


def apply(f, record):
    kind, off, n, body = record
    if kind == "w":
        f.seek(off)
        f.write(body)
    elif kind == "h":
        size = f.seek(0, 2)
        if off < size:
            f.seek(off)
            f.write(bytes(min(n, size - off)))
    elif kind == "t":
        f.truncate(off)


def left(base, log, cut, share, to):
    """What is in the file when the power goes after `cut` records."""
    synced = max([i for i in range(cut) if log[i][0] == "s"], default=0)
    shutil.copyfile(base, to)
    with open(to, "r+b") as f:
        for i, record in enumerate(log[:cut]):
            if i < synced or random.random() < share:
                apply(f, record)


def load(name, steps, *make):
    global passed, failed
    disk, base, log, to = (os.path.join(work, n) for n in ("disk", "base", "log", "left"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *make], check=True, cwd=work)
    if name == "snapshot":
        subprocess.run([ops, "load", disk, "qcow2", "4", "30", to], check=True)
        subprocess.run(["qemu-img", "snapshot", "-c", "s", disk], check=True)
    shutil.copyfile(disk, base)
    env = {**os.environ, "LD_PRELOAD": preload, "JOURNAL": log, "JOURNAL_OF": disk}
    subprocess.run([ops, "load", disk, "qcow2", "5", str(steps), to], check=True, env=env)
    all = list(records(log))
    left(base, all, len(all), 1, to)
    same = subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", disk, to]).returncode
    passed, failed = passed + (same == 0), failed + (same != 0)
    if same or not any(r[0] == "s" for r in all):
        print("FAILED: %s: the journal is not what was done" % name)
    for i in range(rounds):
        cut, share = random.randrange(len(all)), random.random()
        left(base, all, cut, share, to)
        r = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", to], capture_output=True, text=True)
        if r.returncode in (0, 3):
            passed += 1
        else:
            failed += 1
            print("FAILED: %s: after %d of %d, %.2f of the rest: %s" % (name, cut, len(all), share, (r.stdout + r.stderr)[:300]))
    os.remove(disk)


random.seed(int(os.environ.get("SEED") or 1))
try:
    open(os.path.join(work, "zero"), "wb").truncate(8 << 20)
    load("plain", 60, "disk", "9M")
    load("tiny", 40, "-o", "cluster_size=512", "disk", "4M")
    load("layer", 60, "-b", "zero", "-F", "raw", "-o", "cluster_size=8k", "disk", "9M")
    load("snapshot", 60, "-o", "cluster_size=4k", "disk", "9M")
finally:
    shutil.rmtree(work)
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed != 0)
