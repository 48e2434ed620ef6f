/* The options of lodge run and create, and what they say of a guest. */
#include "base/own.h"
#include "cli/images.h"
#include "cli/run.h"
#include "cli/update.h"
#include "guest/gdb.h"
#include "guest/limits.h"
#include "guest/network.h"
#include "guest/outside.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(struct run_opts, member)
const struct opt run_table[] = {
	{"append", 0, OPT_TEXT, AT(append), "TEXT", "The kernel's command line.", NULL},
	{"arch", 0, OPT_TEXT, AT(arch), "CPU",
	 "The guest's CPU: riscv64 or amd64 (an image's: this machine's own; otherwise riscv64).",
	 ARCH_CHOICES},
	{"cdrom", 0, OPT_LIST, AT(drives.cdroms), "FILE",
	 "A CD or DVD as an image of it (.iso), in a drive of its own; several may be given.",
	 NULL},
	{"cloud-init", 0, OPT_FLAG, AT(seed.wanted), NULL,
	 "Tell cloud-init in a foreign image its name, by a disk called cidata.", NULL},
	{"code-cache", 0, OPT_SIZE, AT(code_cache), "SIZE",
	 "How much translated code is kept for each of its CPUs, 1M to 1000M (32M, x86-64 128M).",
	 NULL},
	{"boot", 0, OPT_TEXT, AT(drives.boot), "disk|cdrom",
	 "What its firmware tries first (disk); what cannot be booted from is passed over.",
	 "disk cdrom"},
	{"cap-rate", 0, OPT_TEXT, AT(cap_rate), "RATE",
	 "The most that each of its network cards sends and receives, in bits a second: 500k, 10M, "
	 "1G.",
	 NULL},
	{"cpu", 0, OPT_TEXT, AT(cpu), "auto|v2|v3[,-FEATURE][,+FEATURE]",
	 "amd64: what CPU it sees: all that this machine gives it (auto), or one that others have, "
	 "too, so that it can go on there.",
	 "auto v2 v3"},
	{"cpu-shares", 0, OPT_NUMBER, AT(cpu_shares), "N",
	 "Its weight where this machine's CPUs are short: 1024 is usual.", NULL},
	{"cpus", 'c', OPT_TEXT, AT(cpus), "N",
	 "How many CPUs the guest has (1); 1.5: two that use no more than one and a half of this "
	 "machine's.",
	 NULL},
	ZONES_CPUSET(run_opts),
	{"detach", 'd', OPT_FLAG, AT(detach), NULL,
	 "Run it in the background, and print its name once it runs.", NULL},
	{"detach-keys", 0, OPT_TEXT, AT(keys), "KEYS",
	 "What leaves the guest: one key or several, such as ctrl-p,ctrl-q (ctrl-]), or none.",
	 "none"},
	{"deterministic", 0, OPT_FLAG, AT(deterministic), NULL,
	 "Have time go by instructions, so that every run does the same: one CPU, no network.",
	 NULL},
	{"disk", 0, OPT_LIST, AT(drives.disks),
	 "FILE[,format=FORMAT][,if=virtio|nvme|sata|cdrom][,ro][,backing]",
	 "A disk image, raw unless said otherwise, as the next disk, behind such a device "
	 "(virtio); several may be given. "
	 "backing: "
	 "trust it to name the images that it lies over.",
	 NULL},
	{"disk-copy", 0, OPT_FLAG, AT(disk_copy), NULL,
	 "Copy the image's disk, instead of a layer over it: it starts later, and first "
	 "writes are faster.",
	 NULL},
	{"dump", 0, OPT_TEXT, AT(dump), "FILE[:PC[-PC]]",
	 "Write there what is translated (at these addresses): guest code, IR, host code.", NULL},
	{"engine", 0, OPT_TEXT, AT(engine), "ENGINE",
	 "What executes its instructions: auto (default), jit (translated), interp (interpreted), "
	 "check (both, compared), kvm (this machine's processor; x86-64 only).",
	 "auto jit interp check kvm"},
	ZONES_ENTRYPOINT(run_opts),
	ZONES_ENV(run_opts),
	{"firmware", 0, OPT_TEXT, AT(firmware), "FILE|bios|uefi",
	 "Start this instead of the kernel: OpenSBI or U-Boot; for amd64 SeaBIOS or OVMF, which "
	 "are bios and uefi where they are installed.",
	 "bios uefi"},
	{"gdb", 0, OPT_TEXT, AT(gdb), "[ADDR:]PORT|unix:PATH",
	 "Let gdb connect there (target remote), to debug all of the guest.", NULL},
	{"gdb-wait", 'S', OPT_FLAG, AT(gdb_wait), NULL,
	 "With --gdb: run nothing before gdb says continue.", NULL},
	ZONES_HOSTNAME(run_opts),
	{"initrd", 0, OPT_TEXT, AT(initrd), "FILE", "The initial file system of the kernel.", NULL},
	ZONES_INTERACTIVE(run_opts),
	{"io-ops", 0, OPT_NUMBER, AT(io_ops), "N",
	 "The most requests a second that each of its disks serves.", NULL},
	{"io-rate", 0, OPT_SIZE, AT(io_rate), "SIZE",
	 "The most that each of its disks reads and writes a second: 10M.", NULL},
	ZONES_IO_WEIGHT(run_opts),
	ZONES_IP(run_opts),
	{"kernel", 0, OPT_TEXT, AT(kernel), "FILE",
	 "A kernel: Image, bzImage, ELF, or any of them in gzip.", NULL},
	{"kind", 0, OPT_TEXT, AT(kind), "KIND",
	 "What kind of guest: vm, a computer with a kernel of its own, for a container's image, "
	 "too; zone, a private system below this machine's (as its image is).",
	 "vm zone"},
	{"memory", 'm', OPT_SIZE, AT(memory), "SIZE", "How much memory it has, such as 512M (1G).",
	 NULL},
	{"memory-high", 0, OPT_SIZE, AT(memory_high), "SIZE",
	 "How much of this machine's memory its process keeps before it is made to swap: by a "
	 "control group, where one can be made.",
	 NULL},
	{"memory-max", 0, OPT_SIZE, AT(memory_max), "SIZE",
	 "How much 'lodge update --memory' may give it later: it has that from the beginning, and "
	 "its balloon takes what is more than --memory.",
	 NULL},
	{"memory-merge", 0, OPT_FLAG, AT(memory_merge), NULL,
	 "Let this machine keep what it and other such guests hold the same once (KSM): programs "
	 "that compute are slower, and guests can find out what others hold.",
	 NULL},
	ZONES_RESERVATION(run_opts),
	{"name", 0, OPT_TEXT, AT(name), "NAME",
	 "Name it; then it is kept when it ends, with its disk, and may be run again.", NULL},
	{"net", 0, OPT_LIST, AT(nets), "NET",
	 "user: its own network behind this machine's (default, unless --deterministic); one of "
	 "'lodge network ls', shared with other guests; tap:NAME or bridge:NAME of this machine; "
	 "none. Several may be given, a card each.",
	 "user none"},
	{"network", 0, OPT_LIST, AT(nets), "NET", "The same as --net.", "user none"},
	{"no-balloon", 0, OPT_FLAG, AT(no_balloon), NULL,
	 "Leave memory with the guest that it has freed: it is faster to use again.", NULL},
	{"no-direct", 0, OPT_FLAG, AT(no_direct), NULL,
	 "x86-64: translate the guest's programs that compute, too, instead of running them "
	 "directly on this CPU, in processes of their own.",
	 NULL},
	ZONES_PIDS(run_opts),
	{"profile", 0, OPT_FLAG, AT(profile), NULL,
	 "Write /tmp/perf-PID.map, so that perf(1) names translated code by the guest's symbols.",
	 NULL},
	{"publish", 'p', OPT_LIST, AT(publish), "[ADDR:]PORT:GUESTPORT[/udp]",
	 "Pass connections to a port of this machine on to the guest.", NULL},
	{"record", 0, OPT_TEXT, AT(record), "FILE",
	 "Write there all that comes to the guest and when, so that it can be run again and do the "
	 "same: --deterministic, but with networks. What it writes to its disks is forgotten.",
	 NULL},
	{"replay", 0, OPT_TEXT, AT(replay), "FILE",
	 "Run what was recorded there again, to the instruction, and fail where it does anything "
	 "else. Only --engine, --gdb and what tells of it may be different.",
	 NULL},
	{"restore", 0, OPT_TEXT, AT(restore), "FILE",
	 "Go on from a snapshot's file instead of booting; all else as the guest in it was "
	 "started.",
	 NULL},
	{"rm", 0, OPT_FLAG, AT(remove), NULL,
	 "Remove it when it ends; one without a name in the foreground leaves nothing anyway.",
	 NULL},
	ZONES_ROOTFS(run_opts),
	{"shared-disk", 0, OPT_LIST, AT(drives.shared), "FILE[,if=virtio|nvme|sata]",
	 "A raw disk that other guests may have in the same way and write to, at the same time: "
	 "for file "
	 "systems and databases made for that. Behind those of --disk.",
	 NULL},
	{"ssh-key", 0, OPT_TEXT, AT(seed.ssh_key), "FILE",
	 "With cloud-init: a public key for the image's usual user.", NULL},
	{"stats", 0, OPT_FLAG, AT(stats), NULL,
	 "When the guest has ended, say on standard error what it used and counted.", NULL},
	ZONES_STORAGE(run_opts),
	{"symbols", 0, OPT_TEXT, AT(symbols), "FILE",
	 "Names of the guest's code for these: an ELF file, System.map or /proc/kallsyms.", NULL},
	{"trace-cpu", 0, OPT_TEXT, AT(trace), "WHAT[,WHAT...][:FILE]",
	 "Write what its CPUs execute, to FILE or standard error: insn[=WHERE], exec[=WHERE] "
	 "(jumps only), regs, int, csr; only user, kernel, machine, cpu=N, after skip=N, count=N "
	 "of them, size=SIZE (1G). WHERE: PC, FROM-TO (hexadecimal) or a function.",
	 NULL},
	ZONES_TTY(run_opts),
	ZONES_USER(run_opts),
	{"vars", 0, OPT_TEXT, AT(vars), "FILE",
	 "What --firmware starts with as its variables: OVMF_VARS.fd. The guest gets a copy, which "
	 "is kept if it has a name (found beside OVMF_CODE.fd by itself).",
	 NULL},
	{"user-data", 0, OPT_TEXT, AT(seed.user_data), "FILE",
	 "With cloud-init: what it is to do, as cloud-config or a script.", NULL},
	ZONES_USERNS(run_opts),
	{"volume", 'v', OPT_LIST, AT(volumes), "DIR|NAME:DIR[:ro]",
	 "Share a folder of this machine, or a volume, at that place in the guest.", NULL},
	ZONES_WORKDIR(run_opts),
	{0},
};

enum { LEAST_MEMORY = 1 /* MiB */ };
enum { LEAST_CODE = 1, MOST_CODE = 1000 /* MiB: jumps reach no farther */ };

static int add_nets(struct spec *s, const struct opt_list *l, struct err *e)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (!strcmp(l->at[i], "none") && l->n > 1)
			return fail(e, -EINVAL, "--net: none, and %s?", l->at[!i]);
		if (!strcmp(l->at[i], "none")) return 0;
		if (!strcmp(l->at[i], "host")) {
			if (l->n > 1) return fail(e, -EINVAL, "--net: host, and %s?", l->at[!i]);
			s->zone.host_net = true;
			return 0;
		}
		if (s->nnets == SPEC_NETS)
			return fail(e, -EINVAL, "--net: more than %d networks", SPEC_NETS);
		int r = network_check(l->at[i], e);
		if (r) return fail_in(e, "--net");
		s->net[s->nnets++] = l->at[i];
	}
	return 0;
}

static int add_network(struct spec *s, const struct run_opts *o, struct err *e)
{
	bool can = false;
	int r = add_nets(s, &o->nets, e);
	if (r) return r;
	if (!o->nets.n && (!o->deterministic || o->record) && !o->replay)
		s->net[s->nnets++] = "user";
	for (unsigned i = 0; i < s->nnets; i++) can |= network_publishes(s->net[i]);
	if (!can && o->publish.n) return fail(e, -EINVAL, "--publish needs a network: --net user");
	for (unsigned i = 0; i < o->publish.n; i++) {
		r = nat_forward_parse(&s->publish[s->npublish++], o->publish.at[i], e);
		if (r) return r;
	}
	return o->cap_rate ? bits_parse(&s->cap_rate, o->cap_rate, e) : 0;
}

static int add_code_cache(struct spec *s, const struct run_opts *o, struct err *e)
{
	s->code_cache = o->code_cache;
	if (!s->code_cache ||
	    (s->code_cache >= LEAST_CODE * MIB && s->code_cache <= MOST_CODE * MIB))
		return 0;
	return fail(e, -EINVAL, "--code-cache: %llu bytes is not within %dM to %dM",
		    (unsigned long long)s->code_cache, LEAST_CODE, MOST_CODE);
}

static int add_volumes(struct spec *s, const struct opt_list *l, struct err *e)
{
	if (l->n > SPEC_VOLUMES) return fail(e, -EINVAL, "--volume: more than %d", SPEC_VOLUMES);
	for (unsigned i = 0; i < l->n; i++) s->volume[s->nvolumes++] = l->at[i];
	return 0;
}

/* What it has is all that it may ever get, and what it is to keep a wish: see 0019. */
static int add_memory_max(struct spec *s, const struct run_opts *o, struct err *e)
{
	if (!o->memory_max) return 0;
	if (!o->memory)
		return fail(e, -EINVAL,
			    "--memory-max: and with how much does it begin? See --memory");
	if (o->memory_max < o->memory) return fail(e, -EINVAL, "--memory-max: less than --memory");
	if (o->no_balloon || o->deterministic)
		return fail(e, -EINVAL,
			    "--memory-max: it takes a balloon, which this guest does not have");
	s->memory = o->memory_max;
	s->limits.target = o->memory < o->memory_max ? o->memory : 0;
	return 0;
}

static int add_limits(struct spec *s, const struct run_opts *o, struct err *e)
{
	s->limits = (struct limits){.cpu_shares = o->cpu_shares,
				    .io_rate = o->io_rate,
				    .io_ops = o->io_ops,
				    .memory_high = o->memory_high};
	int bad = cpus_parse(&s->cpus, &s->limits.cpu_cap, o->cpus ? o->cpus : "1", e);
	if (!bad) bad = add_memory_max(s, o, e);
	return bad ? bad : limits_check(&s->limits, s->memory, e);
}

static int check_name(const char *name, struct err *e)
{
	if (!store_name_ok(name))
		return fail(e, -EINVAL,
			    "--name: '%s' is not a name: lower-case letters, digits, '_', '.', '-'",
			    name);
	if (!strncmp(name, GUEST_NAMELESS, strlen(GUEST_NAMELESS)))
		return fail(e, -EINVAL, "--name: '%s': guests without a name are called so", name);
	return 0;
}

/* The file that Debian puts beside OVMF's code, by its name: _CODE becomes _VARS. NULL: none. */
static char *vars_beside(const char *firmware)
{
	char *path = firmware ? strdup(firmware) : NULL;
	char *slash = path ? strrchr(path, '/') : NULL;
	char *code = path ? strstr(slash ? slash : path, "_CODE") : NULL;
	if (code) memcpy(code, "_VARS", 5);
	if (code && !access(path, R_OK)) return path;
	free(path);
	return NULL;
}

static int add_vars(struct run *r, struct err *e)
{
	struct spec *s = &r->wish;
	s->vars = r->opts->vars;
	if (s->arch != ARCH_X86_64)
		return s->vars ? fail(e, -EINVAL, "--vars: for --arch amd64 only") : 0;
	if (!s->vars) s->vars = r->vars = vars_beside(s->firmware);
	return 0;
}

/* What follows the first colon is the file; no word of what is traced has any. */
static int add_trace(struct run *r, struct err *e)
{
	const char *what = r->opts->trace;
	if (!what) return 0;
	r->trace = strdup(what);
	if (!r->trace) return fail(e, -ENOMEM, "no memory");
	char *colon = strchr(r->trace, ':');
	if (colon) *colon++ = 0;
	if (colon && !*colon) return fail(e, -EINVAL, "--trace-cpu: no file behind the colon");
	r->wish.trace = r->trace;
	r->wish.trace_file = colon;
	return 0;
}

int run_options(struct run *r, const struct call *c, struct err *e)
{
	const struct run_opts *o = r->opts;
	struct spec *s = &r->wish;
	if (o->kind && strcmp(o->kind, "vm") && strcmp(o->kind, "zone"))
		return fail(e, -EINVAL, "--kind: '%s' is neither vm nor zone", o->kind);
	int bad = o->name ? check_name(o->name, e) : 0;
	if (bad) return bad;
	r->arena = arena_new();
	bool folder = o->zone.rootfs;
	*s = (struct spec){.kind = o->kind,
			   .image = c->nargs && !folder ? c->args[0] : NULL,
			   .arch = BUILT_IN,
			   .memory = o->memory,
			   .kernel = o->kernel,
			   .initrd = o->initrd,
			   .append = o->append,
			   .firmware = o->firmware,
			   .engine = o->engine,
			   .cpu = o->cpu,
			   .control = true,
			   .profile = o->profile,
			   .no_balloon = o->no_balloon,
			   .memory_merge = o->memory_merge,
			   .no_direct = o->no_direct,
			   .disk_copy = o->disk_copy,
			   .deterministic = o->deterministic,
			   .gdb = o->gdb,
			   .gdb_wait = o->gdb_wait,
			   .dump = o->dump,
			   .symbols = o->symbols,
			   .restore = o->restore,
			   .remove = o->remove};
	bad = add_limits(s, o, e);
	if (!bad)
		bad = zones_options(s, &o->zone, c->args + !folder,
				    c->nargs && !folder ? c->nargs - 1 : c->nargs, r->arena, e);
	if (bad) return bad;
	enum arch arch = s->arch;
	bad = o->arch ? arch_parse(&s->arch, o->arch, e) : 0;
	if (bad) return bad;
	if (o->symbols && !o->profile && !o->dump && !o->trace)
		return fail(e, -EINVAL,
			    "--symbols: only --profile, --dump and --trace-cpu use names");
	if (s->memory && s->memory < LEAST_MEMORY * MIB)
		return fail(e, -EINVAL, "--memory: %llu bytes is too little; did you mean %lluM?",
			    (unsigned long long)s->memory, (unsigned long long)s->memory);
	bad = o->gdb ? gdb_check(o->gdb, e) : 0;
	if (!bad && o->gdb_wait && !o->gdb)
		bad = fail(e, -EINVAL, "--gdb-wait: for whom? --gdb says where gdb connects");
	if (!bad) bad = add_code_cache(s, o, e);
	if (!bad) bad = drives_firmware(&s->firmware, &arch, s, &o->drives, e);
	if (!bad && !o->arch) s->arch = folder ? HOST : arch;
	if (!bad) bad = add_vars(r, e);
	if (!bad) bad = add_trace(r, e);
	if (!bad) bad = add_network(s, o, e);
	if (!bad) bad = add_volumes(s, &o->volumes, e);
	if (!bad && folder) bad = boxed_folder(s, e);
	return bad ? bad : drives_add(s, &o->drives, e);
}
