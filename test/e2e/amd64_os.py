"""What other people's disks and kernels for a PC are, untouched: Debian's generic kernel, memtest86+,
the netboot image of Debian's installer, and firmware that starts a disk with GRUB on it."""
import glob
import os
import shutil
import subprocess
import sys

from built_in import computes, sha
from debian_guest import ENGINE, LONG, Debian, start, updates
from guest import Guest, check, ends, finish, part, tried, work

image = os.environ["GUEST"]
here = os.path.dirname(os.path.abspath(__file__))
SYSTEM = work + "/system"
installed = []
DISC = work + "/disc.iso"
BIOS, UEFI = "/usr/share/seabios/bios-256k.bin", "/usr/share/ovmf/OVMF.fd"
INSTALLER = "debian-installer-12-netboot-amd64/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"


def package(pattern):
    return glob.glob(os.environ["UNPACKED"] + "/" + pattern)[0]


def generic():
    for n in (1, 2):
        computes("generic, %d" % n, n, "x86_64", *ENGINE, "--kernel", image + "/kernel", "--initrd", image + "/initrd",
                 "--memory", "512M", "--append", "console=ttyS0 quiet")


def memtest():
    """A whole pass by both CPUs. Most of its three minutes it waits whether memory fades."""
    g = Guest(*ENGINE, "--cpus", "2", "--memory", "64M", "--net", "none", "--append", "console=ttyS0,115200",
              "--kernel", package("memtest86+/boot/memtest86+x64.bin"))
    g.expect("Memtest86")
    check("memtest: both CPUs", tried(g.expect, "SMP: 2T"), g)
    g.expect(r"Pass: +1 +Errors: ", LONG)
    check("memtest: no errors", tried(g.expect, r"\A|0 +", 1) and "Errors: 0 " in g.text[g.at - 20:g.at + 40], g)
    g.kill()


def installer():
    at = package(INSTALLER)
    installs("installer", Guest(*ENGINE, "--kernel", at + "/linux", "--initrd", at + "/initrd.gz", "--append", "console=ttyS0"))


def installs(name, g):
    check(name + ": its first screen", tried(g.expect, "Choose the language to be used for the installation", LONG), g)
    g.expect("<Go Back>")
    g.type("", end="\r")
    check(name + ": takes a key", tried(g.expect, "Select your location"), g)
    g.kill()


def disc():
    """A disc like the one that Debian's installer comes on, with the netboot image's files, the
    generic kernel with our own first file system, and memtest86+."""
    root = work + "/disc"
    for to, what in [("install/vmlinuz", package(INSTALLER + "/linux")), ("install/initrd.gz", package(INSTALLER + "/initrd.gz")),
                     ("live/kernel", image + "/kernel"), ("live/initrd", image + "/initrd"),
                     ("memtest", package("memtest86+/boot/memtest86+x64.bin"))]:
        os.makedirs(os.path.dirname(root + "/" + to), exist_ok=True)
        shutil.copy(what, root + "/" + to)
    r = subprocess.run([here + "/iso", DISC, root], capture_output=True, text=True)
    return check("disc: made", r.returncode == 0) or print(r.stdout + r.stderr)


def lives(name, g, device, modules):
    """The generic kernel from the disc reads all of it there."""
    if not check(name + ": reaches a shell", tried(g.shell), g):
        return
    check(name + ": the generic kernel", g.says("uname -r", r"^6\.\d.*-\d+-amd64$"), g)
    g.run("modprobe -a ahci %s isofs; for i in $(seq 50); do [ -e %s ] || sleep .2; done" % (modules, device))
    check(name + ": by its AHCI driver", g.says("ls -l /sys/bus/pci/drivers/ahci", "0000:00"), g)
    with open(DISC, "rb") as f:
        check(name + ": all bytes", g.says("sha256sum " + device, sha(f.read()), LONG), g)
    with open(work + "/disc/memtest", "rb") as f:
        check(name + ": a file", g.says("mount -t iso9660 -o ro %s /mnt && sha256sum /mnt/memtest" % device, sha(f.read())), g)
    g.type("exit")
    ends(name, g)


def cd_bios():
    g = Guest(*ENGINE, "--firmware", BIOS, "--cdrom", DISC)
    g.expect("Booting from DVD/CD")
    g.expect("ISOLINUX")
    g.expect("emory test")
    g.type("", end="\r")
    installs("cd_bios", g)


def cd_uefi():
    g = Guest(*ENGINE, "--firmware", UEFI, "--cdrom", DISC)
    g.expect("BdsDxe: starting .*CD-ROM", LONG)
    g.expect("Install")
    g.type("i", end="")
    installs("cd_uefi", g)


def cd_linux():
    g = Guest(*ENGINE, "--firmware", BIOS, "--cdrom", DISC, "--cpus", "2")
    g.expect("emory test")
    g.type("l", end="\r")
    lives("cd_linux", g, "/dev/sr0", "sr_mod")
    g = Guest(*ENGINE, "--firmware", UEFI, "--cdrom", DISC, "--net", "none")
    g.expect("Install", LONG)
    g.type("l", end="")
    lives("cd_linux, uefi", g, "/dev/sr0", "sr_mod")


def cd_as_disk():
    """It is a hybrid: from its boot sector, too; and not if the CD is to be first."""
    g = Guest(*ENGINE, "--firmware", BIOS, "--disk", DISC + ",if=sata,ro")
    g.expect("Booting from Hard Disk")
    g.expect("emory test")
    g.type("l", end="\r")
    lives("cd_as_disk", g, "/dev/sda", "sd_mod")
    g = Guest(*ENGINE, "--firmware", BIOS, "--disk", DISC + ",ro", "--cdrom", DISC, "--boot", "cdrom")
    check("cd_as_disk: the CD first", tried(g.expect, "Booting from DVD/CD"), g)
    g.kill()


def cd_memtest():
    g = Guest(*ENGINE, "--firmware", BIOS, "--cdrom", DISC, "--memory", "64M")
    g.expect("emory test")
    g.type("m", end="\r")
    check("cd_memtest: it starts", tried(g.expect, "Memtest86"), g)
    check("cd_memtest: it tests", tried(g.expect, r"Errors: +0", LONG), g)
    g.kill()


def install():
    """The disk: made by Debian's own programs in a guest, as its installer would."""
    with open(SYSTEM, "wb") as f:
        f.truncate(4 << 30)
    g = start("install", "--cpus", "2", "--disk", SYSTEM)
    if not g:
        return
    check("install: apt-get update", updates(g), g)
    with open(here + "/grub/install") as f:
        g.type("cat > install <<'EOF'\n%sEOF" % f.read())
    if check("install: packages, file systems, boot loaders", g.run("sh install /dev/vdb", LONG)[0] == 0, g):
        g.type("poweroff")
        ends("install", g)
        installed.append(SYSTEM)


def system(name, firmware, found, *args):
    """From the firmware through GRUB's menu to the login prompt, twice."""
    g = Debian(*ENGINE, "--firmware", firmware, "--disk", SYSTEM, "--cpus", "2", *args)
    for pattern in found:
        g.expect(pattern)
    check(name + ": GRUB's menu", tried(g.expect, "Debian GNU/Linux"), g)
    if not check(name + ": login prompt and shell", tried(g.login), g):
        return None
    check(name + ": the generic kernel", g.says("uname -r", r"^6\.\d.*-\d+-amd64$"), g)
    check(name + ": two cpus", g.says("nproc", "^2$"), g)
    check(name + ": systemd is running", g.says("systemctl is-system-running --wait", "^running$", LONG), g)
    check(name + ": from its partition", g.says("findmnt -no SOURCE /", "^/dev/vda3$"), g)
    return g


def off(name, g):
    g.type("systemctl reboot")
    check(name + ": restarts", tried(g.login), g)
    g.type("poweroff")
    ends(name, g)


def seabios():
    g = system("seabios", BIOS, ["SeaBIOS", "Booting from Hard Disk"])
    if g:
        check("seabios: no EFI", g.run("test -e /sys/firmware/efi")[0] == 1, g)
        off("seabios", g)


def ovmf():
    g = system("ovmf", UEFI, ["BdsDxe: starting Boot"])
    if g:
        check("ovmf: EFI's variables", g.says("ls /sys/firmware/efi/efivars", "^BootOrder-"), g)
        off("ovmf", g)


chosen = sys.argv[1:]
for p in (generic, memtest, installer):
    if not chosen or p.__name__ in chosen:
        part(p)
discs = [p for p in (cd_bios, cd_uefi, cd_linux, cd_as_disk, cd_memtest) if not chosen or p.__name__ in chosen]
if discs:
    part(disc)
for p in discs:
    part(p)
firmware = [p for p in (seabios, ovmf) if not chosen or p.__name__ in chosen]
if firmware:
    part(install)
for p in firmware if installed else ():
    part(p)
finish()
