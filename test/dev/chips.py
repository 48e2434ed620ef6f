#!/usr/bin/python3
"""The same random commands to our chips and to qemu's: every read must agree.
Usage: chips.py CHIPS QEMU SEED... Where the two differ on purpose, the commands stay away:
no mouse (bit 5 of the 8042's command byte is always set), bits of its output port that are
no lines, a timer whose output is a pulse."""
import random
import subprocess
import sys


class Script:
    def __init__(self, seed):
        self.ops, self.r = [], random.Random(seed)

    def out(self, port, v):
        self.ops.append(f"outb 0x{port:x} 0x{v:x}")

    def read(self, port):
        self.ops.append(f"inb 0x{port:x}")

    def any(self, *of):
        return self.r.choice(of)

    def byte(self):
        return self.r.randrange(256)


def pic_init(s):
    for port, v in ((0x20, 0x11), (0x21, s.byte() & 0xF8), (0x21, 4),
                    (0x21, s.any(1, 3, 1, 1, 0x11)), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 2),
                    (0xA1, 1)):
        s.out(port, v)


def pic_step(s):
    what = s.r.randrange(13)
    if what == 0:
        pic_init(s)
    elif what == 1:
        s.out(s.any(0x21, 0xA1), s.any(0, 0, s.byte(), s.byte()))
    elif what == 2:
        n = s.r.randrange(8)
        s.out(s.any(0x20, 0xA0), s.any(0x20, 0x60 | n, 0xA0, 0xE0 | n, 0xC0 | n))
    elif what == 3:
        s.out(s.any(0x20, 0xA0), 8 | s.any(2, 3, 0x40, 0x60))
    elif what == 4:  # poll: the way to acknowledge without a CPU
        port = s.any(0x20, 0xA0)
        s.out(port, 0x0C)
        s.read(port)
    elif what == 5:  # a rise of the timer's output
        for port, v in ((0x43, 0x30), (0x40, 0), (0x40, 0), (0x43, 0x36), (0x40, 0), (0x40, 0)):
            s.out(port, v)
    elif what == 6:  # one of the keyboard's line
        s.out(0x60, 0xEE)
        s.read(0x60)
    else:
        for port in (0x20, 0xA0):
            for command in (0x0A, 0x0B):
                s.out(port, command)
                s.read(port)
            s.read(port | 1)


def pic(s):
    pic_init(s)
    s.out(0x64, 0x60)
    s.out(0x60, 0x61)
    for _ in range(1500):
        pic_step(s)


def keyboard(s):
    s.out(0x64, 0x60)
    s.out(0x60, 0x61)
    for _ in range(1500):
        what = s.r.randrange(2)
        if what == 0:
            c = s.any(0x20, 0xAA, 0xAB, 0xAD, 0xAE, 0xD0, 0xDD, 0xDF, 0x60, 0xD1, 0xD2)
            s.out(0x64, c)
            if c == 0x60:
                s.out(0x60, s.any(0x61, 0x21, 0x65, 0x70))
            if c == 0xD1:
                s.out(0x60, s.any(0xCF, 0xCD))
            if c == 0xD2:
                s.out(0x60, s.byte())
        else:
            c = s.any(0xED, 0xEE, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFF, 0xF0)
            s.out(0x60, c)
            s.read(0x60)
            if c in (0xED, 0xF3):
                s.out(0x60, s.r.randrange(8))
            if c == 0xF0:
                s.out(0x60, s.any(2, 0))
        for _ in range(4):
            s.read(0x60)


def clock(s):
    """Seconds are set below 50 and not read: qemu's clock runs on meanwhile."""
    for _ in range(200):
        b = s.any(0, 2, 4, 6) | 0x80
        hour = s.r.randrange(24)

        def code(v):
            return v if b & 4 else v // 10 << 4 | v % 10

        half = code(hour % 12 or 12) | (0x80 if hour >= 12 else 0)
        regs = ((0xB, b), (0, code(s.r.randrange(50))), (2, code(s.r.randrange(60))),
                (4, code(hour) if b & 2 else half), (7, code(s.r.randrange(28) + 1)),
                (8, code(s.r.randrange(12) + 1)), (9, code(s.r.randrange(100))), (0x32, code(20)),
                (0xB, b & 0x7F))
        for reg, v in regs:
            s.out(0x70, reg)
            s.out(0x71, v)
        for reg in (2, 4, 7, 8, 9, 0x32, 0xB, 0xD):
            s.out(0x70, reg)
            s.read(0x71)


def ours(chips, ops):
    text = "".join(op + "\n" for op in ops)
    p = subprocess.run([chips], input=text, capture_output=True, text=True, check=True)
    return [int(line, 16) for line in p.stdout.split()]


def theirs(qemu, ops):
    """One command at a time: whole scripts would fill both pipes."""
    p = subprocess.Popen([qemu, "-machine", "pc", "-accel", "tcg", "-S", "-qtest", "stdio",
                          "-qtest-log", "none", "-display", "none", "-nodefaults"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    answers = []
    try:
        for op in ops:
            p.stdin.write(op + "\n")
            p.stdin.flush()
            line = p.stdout.readline()
            if not line.startswith("OK"):
                sys.exit(f"qemu: {op}: {line!r}")
            if op.startswith("inb"):
                answers.append(int(line.split()[1], 16))
    finally:
        p.kill()
        p.wait()
    return answers


def compare(chips, qemu, kind, seed):
    s = Script(seed)
    kind(s)
    a, b = ours(chips, s.ops), theirs(qemu, s.ops)
    reads = [i for i, op in enumerate(s.ops) if op.startswith("inb")]
    if len(a) != len(reads) or len(b) != len(reads) or len(reads) < 1000:
        print(f"{kind.__name__} {seed}: {len(reads)} reads, {len(a)} and {len(b)} answers")
        return False
    for x, y, i in zip(a, b, reads):
        if x != y:
            print(f"{kind.__name__} {seed}: {s.ops[i]}: {x:02x}, qemu {y:02x}, after")
            print("\n".join(s.ops[max(0, i - 12):i]))
            return False
    return True


passed = failed = 0
for k in (pic, keyboard, clock):
    for number in sys.argv[3:]:
        good = compare(sys.argv[1], sys.argv[2], k, int(number))
        passed, failed = passed + good, failed + (not good)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
