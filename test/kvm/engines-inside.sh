#!/bin/sh
# engines.sh's, in its machine. Without the invariant TSC, which QEMU's processor has not.
export LODGE_KVM=any LODGE_HOME=/tmp/home
cd /x || exit 1
for m in irqbypass kvm kvm-amd; do insmod $m.ko; done
mkdir -p /tmp/home

check() { # what, its result
	if [ "$2" = 0 ]; then echo "ok: $1"; else echo "FAILED: $1"; fi
}
up() { # name engine options
	n=$1 e=$2
	shift 2
	./lodge run -d --name "$n" --engine "$e" --arch amd64 --cpu v2,-invtsc --memory 160M --kernel kernel \
		--initrd initrd --append "console=ttyS0 quiet" "$@"
	check "$n: runs with $e" $?
}
ask() { # name command
	for i in $(seq 60); do
		./lodge exec "$1" sh -c "$2" 2> /tmp/why && return 0
	done
	cat /tmp/why
	return 1
}
save() { # name to
	./lodge snapshot "$1" t && mkdir "$2" && mv "/tmp/home/guests/$1/snapshots/t/state" "$2"
	check "$1: is saved" $?
	./lodge stop --force "$1" && ./lodge rm -f "$1"
}
goes_on() { # name: the nonce is there, its program counts on, and time goes as here
	ask "$1" 'read was < /tmp/count; is=$was
		for i in $(seq 120); do [ "$is" = "$was" ] || break; sleep 1; read is < /tmp/count; done
		echo "$(cat /tmp/nonce) $was $is"' > /tmp/said
	read -r nonce was is < /tmp/said
	[ "$nonce" = "$secret" ]
	check "$1: the nonce is there" $?
	[ -n "$is" ] && [ "$is" -gt "$was" ]
	check "$1: what ran runs on: $was $is" $?
	there=$(ask "$1" 'cut -d. -f1 /proc/uptime')
	[ -n "$there" ] && [ "$there" -le "$(($(cut -d. -f1 /proc/uptime) + 1))" ]
	check "$1: time has gone on" $?
	! ./lodge logs "$1" | grep -aE 'BUG:|Oops|panic|soft lockup'
	check "$1: its kernel complains of nothing" $?
}

up a kvm
secret=$(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n')
ask a "echo $secret > /tmp/nonce; (i=0; while true; do i=\$((i+1)); echo \$i > /tmp/next; mv /tmp/next /tmp/count; sleep 0.1; done) > /dev/null 2>&1 &"
check "a: answers" $?
ask a 'until [ -e /tmp/count ]; do sleep 0.1; done'
goes_on a
save a /tmp/1
up b kvm --restore /tmp/1
goes_on b
save b /tmp/2
up c jit --restore /tmp/2
goes_on c
save c /tmp/3
up d kvm --restore /tmp/3
goes_on d
! ./lodge run -d --name e --engine kvm --arch amd64 --cpu v3 --memory 160M --kernel kernel --initrd initrd 2> /tmp/why
check "e: a CPU that is not here is refused" $?
grep -q 'does not give.*invtsc' /tmp/why
check "e: and what it lacks is said: $(cat /tmp/why)" $?
./lodge stop --force d
echo "the end"
