/* The first process of nested.sh's guest: load KVM, run the tests, switch off. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void load(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (syscall(SYS_finit_module, fd, "", 0)) perror(path);
	(void)close(fd);
}

int main(int argc, char **argv)
{
	(void)mkdir("/dev", 0755);
	(void)mkdir("/proc", 0555);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	int fd = open("/dev/console", O_RDWR), status = 0;
	for (int i = 0; i < 3; i++) (void)dup2(fd, i);
	load("/irqbypass.ko");
	load("/kvm.ko");
	load("/kvm-amd.ko");
	if (fork() == 0) {
		(void)execl("/unit", "unit", argc > 1 ? argv[1] : "engine/kvm", NULL);
		_exit(127);
	}
	(void)wait(&status);
	(void)reboot(RB_POWER_OFF);
}
