#!/bin/bash
# The generator must refuse tables that contradict themselves, and say where and why.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
dir=$BUILD/test/isagen
mkdir -p "$dir"
make -s BUILD="$BUILD" "$BUILD/tools/isagen" || exit 1
passed=0 failed=0

head='field d rd
field s rs1
imm I s 11:0
verb pure vv ADD
verb pure - IMM PC
verb pure f R
verb get vk LOAD
verb do fv SET
verb do w HELPER
addi iiiiiiiiiiiisssss000ddddd0010011 %I "d,s,imm" : SET(d, ADD(R(s), IMM))'

result() { # name condition
	if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED $1"; fi
}
accepts() { # name what line...
	printf '%s\n' "$head" "${@:3}" > "$dir/t.isa"
	"$BUILD/tools/isagen" "$dir/t.isa" "$2" > "$dir/out" 2> "$dir/err"
	result "$1" $?
}
refuses() { # message line...
	printf '%s\n' "$head" "${@:2}" > "$dir/t.isa"
	local n bad=1
	for n in enum sem; do # only the printing of meanings reads them
		"$BUILD/tools/isagen" "$dir/t.isa" $n > "$dir/out" 2> "$dir/err" || bad=0
		[ $bad = 1 ] || break
	done
	[ $bad = 1 ] || grep -qF -- "$1" "$dir/err" || { bad=1 && cat "$dir/err"; }
	result "refuse: $1" $bad
}
lw='iiiiiiiiiiiisssss010ddddd0000011 %I "d,imm(s)"'

accepts plain decode "lw $lw : SET(d, LOAD(ADD(R(s), IMM), 32))"
accepts local sem "lw $lw : a = ADD(R(s), IMM); SET(d, LOAD(a, 32))"
[ "$(grep -c ' = ADD(' "$dir/out")" = 2 ]; result "a name adds no step" $?
accepts special decode 'nop 00000000000000000000000000010011 <addi "" :'
accepts compressed info 'c.addi 000iiiiiiiiiiii0 %I "d,imm" = addi d=1 s=2'
refuses '11: overlaps addi of line 10' 'x iiiiiiiiiiiisssss000000000010011 %I "" : SET(s, ADD(R(s), IMM))'
refuses 'not within addi' 'x 00000000000000000010ddddd0010011 <addi "" :'
refuses 'pattern has 31 bits' 'x 0000000000000000000000000010011 "" :'
refuses 'no field is called q' "x qqqqqqqqqqqqsssss010ddddd0000011 \"\" : SET(d, R(s))"
refuses 'immediate layout and i bits differ' 'x iiiiiiiiiiissssss010ddddd0000011 %I "" : SET(d, R(s))'
refuses 'no immediate layout is called Q' "x ${lw/\%I/%Q} : SET(d, R(s))"
refuses 'low bits contradict width' 'x 00000000000000000000000000010001 "" :'
refuses 'no verb is called FOO' "lw $lw : SET(d, FOO(R(s)))"
refuses "expected ','" "lw $lw : SET(d, ADD(R(s)))"
refuses "expected ')'" "lw $lw : SET(d, ADD(R(s), IMM, PC))"
refuses 'lw has no field t' "lw $lw : SET(d, R(t))"
refuses 'SET has no value' "lw $lw : SET(d, SET(d, PC))"
refuses 'has a value that nobody takes' "lw $lw : ADD(R(s), IMM)"
refuses 'does not use s' "lw $lw : SET(d, IMM)"
refuses 'does not use i' "lw $lw : SET(d, R(s))"
refuses 'is not what fits here' "lw $lw : SET(d, LOAD(ADD(R(s), IMM), x))"
refuses 'addi is there twice' "addi $lw : SET(d, ADD(R(s), IMM))"
refuses 'no op is called sub' 'c.sub 0000000000000000 "" = sub'
refuses 'nothing says what rs1 is' 'c.addi 000iiiiiiiiiiii0 %I "" = addi d=1'
refuses 'addi has no t' 'c.addi 000iiiiiiiiiiii0 %I "" = addi d=1 s=1 t=1'
refuses 'reserved bits are within something' 'reserved 00000000000000000000000000010011'
echo "$passed passed, $failed failed"
[ $failed = 0 ]
