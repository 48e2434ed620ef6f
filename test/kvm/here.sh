#!/bin/bash
# On this machine's /dev/kvm, whatever it is good for, with the jail on: a kernel begins to boot on it,
# moves to another store while it does, is saved there, and goes on in the translator up to its shell.
# gdb stops another one, and steps it as it steps the translator's (gdb.py).
# Where there is no /dev/kvm that is said, and all is well.
cd "$(dirname "$0")/../e2e" || exit 1
arch=amd64
. ./built-in
cd ../.. || exit 1
LODGE=${LODGE:-$PWD/${BUILD:-build}/lodge}
work=$(mktemp -d)
export LODGE_KVM=any LODGE_HOME=$work/a
b=$work/b passed=0 failed=0
leave() {
	local home
	for home in "$work/a" "$b"; do
		LODGE_HOME=$home "$LODGE" stop --force kernel
		LODGE_HOME=$home "$LODGE" stop --force goes-on
		LODGE_HOME=$home "$LODGE" stop --force debugged
	done > /dev/null 2>&1
	rm -rf "$work"
}
trap leave EXIT

check() { # what, its result
	if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: $1"; fi
}
end() {
	echo "$passed passed, $failed failed"
	[ $failed = 0 ]
	exit
}
within() { # seconds command: until it succeeds
	local i
	for ((i = 0; i < $1 * 5; i++)); do
		eval "$2" && return
		sleep 0.2
	done
	return 1
}
begin() {
	"$LODGE" run -d --name kernel --engine kvm --arch amd64 --cpu "$cpu" --memory 128M \
		--kernel "$GUEST/kernel" --initrd "$GUEST/initrd" \
		--append "console=ttyS0 earlyprintk=ttyS0" > "$work/said" 2>&1
}
# cmpxchg16b is what a paravirtualised KVM fails at first; what it does not give it says.
cpu=v2,-cx16
begin || {
	missing=$(sed -n 's/.*does not give \(.*\); take.*/\1/p' "$work/said")
	[ -z "$missing" ] || cpu=$cpu,-${missing//, /,-}
	begin
}
result=$?
if [ $result != 0 ] && grep -qE '/dev/kvm( is|:) (not there|there, but|No such|Permission)' "$work/said"; then
	echo "SKIPPED here.sh: $(cat "$work/said")"
	check "nothing to be done" 0
	end
fi
check "it begins on /dev/kvm with --cpu $cpu: $(cat "$work/said")" $result
within 60 '"$LODGE" logs kernel 2> /dev/null | grep -aq "Linux version"'
check "its kernel runs: $("$LODGE" logs kernel 2>&1 | tail -n 1)" $?
"$LODGE" move kernel --to-store "$b" > "$work/said" 2>&1
check "it moves while it boots: $(cat "$work/said")" $?
export LODGE_HOME=$b
"$LODGE" ps | grep -q kernel
check "it runs there" $?
"$LODGE" snapshot kernel t > "$work/said" 2>&1
check "it is saved there: $(cat "$work/said")" $?
"$LODGE" stop --force kernel > /dev/null
"$LODGE" run -d --name goes-on --engine jit --arch amd64 --memory 128M --kernel "$GUEST/kernel" \
	--initrd "$GUEST/initrd" --restore "$b/guests/kernel/snapshots/t" > "$work/said" 2>&1
check "the translator takes it: $(cat "$work/said")" $?
within 60 '"$LODGE" exec goes-on true 2> /dev/null'
check "it comes to its shell: $("$LODGE" logs goes-on 2>&1 | tail -n 1)" $?
flags=$("$LODGE" exec goes-on grep -m1 flags /proc/cpuinfo)
[[ $flags == *" fxsr "* && $flags != *" cx16 "* && $flags != *" avx "* ]]
check "its CPU is still the one that it was told of: $flags" $?
"$LODGE" stop --force goes-on > /dev/null

# A debugger at one.
export LODGE
python3 -B test/kvm/gdb.py "$cpu" "$work" > "$work/said" 2>&1
while read -r line; do
	case $line in
	ok:*) check "$line" 0 ;;
	SKIPPED*) echo "$line" ;;
	*) check "$line" 1 ;;
	esac
done < "$work/said"
end
