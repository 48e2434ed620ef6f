"""What other people's disks and kernels for a PC are, untouched: Debian's generic kernel, memtest86+,
the netboot image of Debian's installer, and firmware that starts a disk with GRUB on it."""
import glob
import os
import sys

from built_in import computes
from debian_guest import ENGINE, LONG, Debian, start, updates
from guest import Guest, check, ends, finish, part, tried, work

image = os.environ["GUEST"]
here = os.path.dirname(os.path.abspath(__file__))
SYSTEM = work + "/system"


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
    at = package("debian-installer-12-netboot-amd64/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")
    g = Guest(*ENGINE, "--kernel", at + "/linux", "--initrd", at + "/initrd.gz", "--append", "console=ttyS0")
    check("installer: its first screen", tried(g.expect, "Choose the language to be used for the installation"), g)
    g.expect("<Go Back>")
    g.type("", end="\r")
    check("installer: takes a key", tried(g.expect, "Select your location"), g)
    g.kill()


def install():
    """The disk: made by Debian's own programs in a guest, as its installer would."""
    with open(SYSTEM, "wb") as f:
        f.truncate(4 << 30)
    g = start("install", "--cpus", "2", "--disk", SYSTEM)
    if not g:
        return False
    check("install: apt-get update", updates(g), g)
    with open(here + "/grub/install") as f:
        g.type("cat > install <<'EOF'\n%sEOF" % f.read())
    ok = check("install: packages, file systems, boot loaders", g.run("sh install /dev/vdb", LONG)[0] == 0, g)
    g.type("poweroff")
    ends("install", g)
    return ok


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
    g = system("seabios", "/usr/share/seabios/bios-256k.bin", ["SeaBIOS", "Booting from Hard Disk"])
    if g:
        check("seabios: no EFI", g.run("test -e /sys/firmware/efi")[0] == 1, g)
        off("seabios", g)


def ovmf():
    g = system("ovmf", "/usr/share/ovmf/OVMF.fd", ["BdsDxe: starting Boot"])
    if g:
        check("ovmf: EFI's variables", g.says("ls /sys/firmware/efi/efivars", "^BootOrder-"), g)
        off("ovmf", g)


chosen = sys.argv[1:]
for p in (generic, memtest, installer):
    if not chosen or p.__name__ in chosen:
        part(p)
firmware = [p for p in (seabios, ovmf) if not chosen or p.__name__ in chosen]
if firmware:
    part(install)
for p in firmware:
    part(p)
finish()
