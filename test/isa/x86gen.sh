#!/bin/bash
# x86's generator must refuse tables that contradict themselves, and say where and why.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
dir=$BUILD/test/x86gen
mkdir -p "$dir"
make -s BUILD="$BUILD" "$BUILD/tools/x86gen" || exit 1
passed=0 failed=0

head='verb get n O
verb pure vv ADD
verb do nv SET
op add : SET(0, ADD(O(0), O(1)))
01 /r Ev,Gv add'

result() { # name condition
	if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED $1"; fi
}
run() { # line...
	printf '%s\n' "$head" "$@" > "$dir/t.isa"
	for n in info sem; do "$BUILD/tools/x86gen" "$dir/t.isa" $n || return 1; done > "$dir/out" 2> "$dir/err"
}
refuses() { # message line...
	! run "${@:2}" && grep -qF -- "$1" "$dir/err"
	result "refuse: $1" $?
}
run '0f 10 /r f3 mem Vdq,Md movss vi' && grep -q vmovss "$dir/out"
result 'a line of SSE speaks for a VEX form' $?
run '90+r Zv,rAX xchg' '90 b0 - nop'
result 'the line that asks for more wins' $?
refuses 't.isa:5: means the same as line 6' '01 /r Ev,Gv sub'
refuses 'means the same as line' '02 /r mem Eb,Gb sub' '02 /3 Eb,Gb or'
refuses 'ModRM or not?' '01 f3 - sub'
refuses 'operand? Kv' '02 /r Kv,Gv sub'
refuses 'operand? Eqq' '02 /r Eqq sub'
refuses 'sub: e64?' '02 /r Ev,Gv sub e64'
refuses 'nothing is called sub' 'op sub w=c'
refuses 'flags? w=q' 'op sub w=q' '02 - sub'
refuses 'op add is on line 4, too' 'op add w=c'
refuses 'register? zx' 'op sub ri=zx' '02 - sub'
refuses 'uses? rq' 'op sub o=rq' '02 - sub'
refuses 'no verb is called MUL' 'op sub : SET(0, MUL(O(0), O(1)))' '02 - sub'
refuses 'SET has no result' 'op sub : a = SET(0, O(1))' '02 - sub'
refuses "'(' expected" 'op sub : SET' '02 - sub'
refuses "';' expected" 'op sub : SET(0, O(1)) SET(1, O(0))' '02 - sub'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
