"""The built-in guest of x86-64 end to end: Debian's own kernel on the board, its CPUs, power, disk and
network; and firmware."""
import os
import re
import subprocess
import sys

from built_in import computes, lines, sha
from guest import LIMIT, LODGE, Guest, boots, check, ends, finish, part, tried, work

os.environ["LODGE_HOME"] = work + "/home"
image = os.environ["GUEST"]
ENGINE = ["--arch", "amd64", "--engine", os.environ.get("ENGINE") or "auto"]
BASE = ENGINE + ["--kernel", image + "/kernel", "--initrd", image + "/initrd", "--memory", "512M"]
BOOT = BASE + ["--append", "console=ttyS0 quiet"]


def power_off():
    g = Guest(*BASE, "--net", "none", "--append",
              'console=ttyS0 earlyprintk=serial,ttyS0 lodge.run="echo 6*7=$((6*7))"')
    g.expect("earlyser0. enabled")
    g.expect("ACPI: PM: .*S0 S5")
    g.expect(r"^6\*7=42")
    ends("a command as parameter", g)


def one_cpu():
    computes("1 cpu", 1, "x86_64", *BOOT)


def two_cpus():
    computes("2 cpus", 2, "x86_64", *BOOT)


def more_memory():
    g = boots("5G", *BASE, "--append", "console=ttyS0 quiet", "--memory", "5G")
    if g:
        check("5G: has it", g.says("free -m", r"^Mem: +(4[89]|50)\d\d "), g)
        g.type("exit")
        ends("5G", g)


def reboot():
    g = boots("reboot", *BOOT, "--net", "none")
    if g:
        g.type("reboot -f")
        check("reboot: comes up again", g.shell(), g)
        g.type("exit")
        ends("reboot", g)


def disk():
    a_disk("disk", "/dev/vda", "")


def nvme():
    a_disk("nvme", "/dev/nvme0n1", ",if=nvme")


def a_disk(name, dev, how):
    raw = work + "/disk"
    with open(raw, "wb") as f:
        f.write(lines(20000))
        f.truncate(2 << 20)
    with open(raw, "rb") as f:
        want = sha(f.read())
    g = boots(name, *BOOT, "--net", "none", "--disk", raw + how)
    if not g:
        return
    check(name + ": reads", g.says("sha256sum " + dev, want), g)
    check(name + ": writes", g.run("seq 1 20000 | dd of=%s conv=notrunc,fsync && mke2fs -q %s && mount -t ext4 %s /mnt && "
                                 "seq 1 1000 > /mnt/f && umount /mnt" % (dev, dev, dev))[0] == 0, g)
    check(name + ": interrupts are messages", g.says("grep -E 'virtio|nvme0q1' /proc/interrupts", "PCI-MSI"), g)
    g.type("exit")
    ends(name, g)
    with open(raw, "rb") as f:
        check(name + ": it was written", lines(1000) in f.read())


def network():
    g = boots("network", *BOOT)
    if g:
        check("network: has an address", g.says("ip addr show eth0", r"inet 10\.0\.2\.\d+"), g)
        check("network: the host answers", g.says("ping -c 1 10.0.2.2", "1 packets received"), g)
        g.type("exit")
        ends("network", g)


REPEATED = b"""seq 1 2000 | sha256sum
head -c 16 /dev/urandom | od -x; cat /proc/sys/kernel/random/uuid
date; sleep 1; cat /proc/uptime
dd if=/dev/vda bs=64k 2> /dev/null | sha256sum
dd if=/dev/zero of=/dev/vda bs=4k count=500 conv=fsync 2> /dev/null; cat /proc/interrupts
exit
"""


def deterministic(engines=("auto", "auto")):
    """The same input, the same output, at the same times, by the same number of instructions."""
    runs = []
    data = lines(300000)[:1 << 20]
    for engine in engines:
        with open(work + "/repeated", "wb") as f:
            f.write(data)
        r = subprocess.run([LODGE, "run", *BASE, "--append", "console=ttyS0", "--deterministic", "--stats",
                            "--engine", engine, "--disk", work + "/repeated"], input=REPEATED, capture_output=True, timeout=LIMIT)
        count = re.search(rb"instructions +(\d+)", r.stderr)
        runs.append((r.returncode, r.stdout, count and count.group(1)))
    check("deterministic: it ran", runs[0][0] == 0 and b"reboot: Power down" in runs[0][1] and runs[0][2])
    check("deterministic: it computed", sha(lines(2000)).encode() in runs[0][1])
    check("deterministic: it read its disk", sha(data).encode() in runs[0][1])
    check("deterministic: the same by " + ", ".join(engines), runs[0] == runs[1])


def deterministic_interpreted():
    deterministic(("jit", "interp"))


def lockstep():
    """Translated code done again by the interpreter and compared, from power-on to power-off."""
    g = boots("check", *BASE, "--append", "console=ttyS0 quiet", "--net", "none", "--engine", "check")
    if not g:
        return
    check("check: computes", g.says("seq 1 10000 | sha256sum", sha(lines(10000))), g)
    check("check: floating point", g.says("awk 'BEGIN { x = 2 / 3; printf \"%.15f\\n\", x * 1.1 - 7 }'", "^-6.266666666666667"), g)
    check("check: forks", g.says("for i in $(seq 50); do sh -c 'exit 3'; done; echo $?", "^3"), g)
    g.type("exit")
    ends("check", g)


def installed(name, file):
    if not os.path.exists(file):
        print(f"SKIPPED: {name}: it is not installed")
        return False
    return True


def seabios(how=""):
    """A boot sector that says so to the serial port and asks for S5."""
    bios = "/usr/share/seabios/bios-256k.bin"
    if not installed("seabios", bios):
        return
    code = bytes.fromhex("fa be197c ac 84c0 7406 baf803 ee ebf5 ba0406 b80020 ef f4 ebfd") + b"a sector speaks\n\0"
    with open(work + "/boot", "wb") as f:
        f.write(code.ljust(510, b"\0") + b"\x55\xaa")
        f.truncate(1 << 20)
    g = Guest(*ENGINE, "--net", "none", "--firmware", bios, "--disk", work + "/boot" + how)
    g.expect("Booting from Hard Disk")
    g.expect("a sector speaks")
    ends("seabios" + how, g)


def seabios_nvme():
    seabios(",if=nvme")


def seabios_sata():
    seabios(",if=sata")


def disc(code):
    """An image of a CD that is nothing but bootable (El Torito 1.0, no emulation): 2 KiB of code."""
    catalog = bytearray(64)
    catalog[0], catalog[30:34] = 1, b"\x55\xaa\x88\0"
    catalog[28:30] = (-sum(int.from_bytes(catalog[i:i + 2], "little") for i in range(0, 32, 2)) & 0xffff).to_bytes(2, "little")
    catalog[38:44] = b"\x04\0" + (20).to_bytes(4, "little")
    sectors = {16: b"\1CD001\1", 17: b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + (19).to_bytes(4, "little"),
               18: b"\xffCD001\1", 19: bytes(catalog), 20: code, 21: b""}
    return b"".join(sectors.get(i, b"").ljust(2048, b"\0") for i in range(22))


def boot_order():
    """By SeaBIOS: the disk first, the CD first, the CD because there is nothing on the disk."""
    bios = "/usr/share/seabios/bios-256k.bin"
    if not installed("boot order", bios):
        return
    code = bytes.fromhex("fa be197c ac 84c0 7406 baf803 ee ebf5 ba0406 b80020 ef f4 ebfd")
    for name, text in ("disk", b"a sector speaks\n\0"), ("disc", b"a disc speaks\n\0"):
        with open(work + "/" + name, "wb") as f:
            sector = (code + text).ljust(510, b"\0") + b"\x55\xaa"
            f.write(sector.ljust(1 << 20, b"\0") if name == "disk" else disc(sector))
    with open(work + "/blank", "wb") as f:
        f.truncate(1 << 20)
    for disk, order, says in [("disk", [], "a sector speaks"), ("disk", ["--boot", "cdrom"], "a disc speaks"),
                              ("blank,if=sata", [], "a disc speaks")]:
        g = Guest("--net", "none", "--firmware", "bios", "--disk", work + "/" + disk, "--cdrom", work + "/disc", *order)
        name = "boot order: %s %s" % (disk, " ".join(order))
        check(name, tried(g.expect, says), g)
        ends(name, g)


def ovmf():
    """A kernel that it finds by fw_cfg and starts as an EFI program."""
    uefi = "/usr/share/ovmf/OVMF.fd"
    if not installed("ovmf", uefi):
        return
    g = Guest(*BASE, "--net", "none", "--firmware", uefi, "--append", 'console=ttyS0 lodge.run="echo 6*7=$((6*7))"')
    g.expect("efi: EFI v2")
    g.expect(r"^6\*7=42")
    ends("ovmf", g)


def ovmf_shell():
    """The newer cut, 32-bit until it starts drivers; from a disk behind NVMe, if it had a boot loader."""
    uefi = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    if not installed("ovmf_shell", uefi):
        return
    with open(work + "/empty", "wb") as f:
        f.truncate(1 << 20)
    g = Guest(*ENGINE, "--net", "none", "--firmware", uefi, "--disk", work + "/empty,if=nvme")
    g.expect("EFI Internal Shell")
    g.expect("Shell> ")
    g.type("ver", end="\r")
    check("ovmf shell: takes commands", tried(g.expect, r"UEFI v2\.\d+ \(EDK II"), g)
    g.type("map -r", end="\r")
    check("ovmf shell: sees NVMe", tried(g.expect, r"NVMe\(0x1,"), g)
    g.type("reset -s", end="\r")
    ends("ovmf shell", g)


def ovmf_vars():
    """Variables are kept where the guest has a name, and forgotten where it has none."""
    uefi = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    if not installed("ovmf_vars", uefi):
        return
    var = "setvar LodgeKept -guid 6c6f6467-6500-4000-8000-000000000001"
    for name, command, says in [(["--name", "uefi"], var + ' -bs -nv =0x2a', None),
                                (["--name", "uefi"], var, r"^ *2A|Data.*2A|00000000: 2A"),
                                ([], var, "(?i)not found|unable to get")]:
        g = Guest(*ENGINE, "--net", "none", "--firmware", uefi, *name)
        g.expect("Shell> ")
        g.type(command, end="\r")
        if says:
            check("ovmf vars: " + ("kept" if name else "not another's"), tried(g.expect, says), g)
        g.expect("Shell> ")
        g.type("reset -s", end="\r")
        ends("ovmf vars", g)


for p in [power_off, one_cpu, two_cpus, more_memory, reboot, disk, nvme, network, deterministic, seabios, seabios_nvme, seabios_sata, boot_order, ovmf, ovmf_shell, ovmf_vars]:
    if len(sys.argv) < 2 or any(a in p.__name__ for a in sys.argv[1:]):
        part(p)
for p in [deterministic_interpreted, lockstep]:  # minutes each: only by name
    if p.__name__ in sys.argv[1:]:
        part(p)
finish()
