# Figures of bench/run to a table, means, bars and JSON. Reads, in this order: groups.txt (GROUP NAME),
# native.txt, lodge.txt, qemu.txt (what drive.c prints), boot.txt (WHO total CPU WALL STATUS) and
# packages (CPU PACKAGE VERSION). Fails if a program failed in Lodge, for lack of time apart, or
# computed something else there.
function median(list,    n, v, i, j, t) {
	n = split(list, v, " ")
	for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++)
		if (v[j] + 0 < v[i] + 0) { t = v[i]; v[i] = v[j]; v[j] = t }
	return n ? v[int((n + 1) / 2)] + 0 : 0
}
function say(text) { print "bench: " text > "/dev/stderr" }
function times(x, digits) { return x ? sprintf("%." digits "f", x) : "-" }
function num(x) { return x ? sprintf("%.6f", x) : "null" }
function mean(log_sum, n) { return n ? exp(log_sum / n) : 0 }
function bar(what, value, most, digits,    kept) {
	kept = value <= most
	printf "%-7s %s: %.*f, at most %.*f\n", kept ? "ok" : "MISSED", what, digits, value, digits, most
	printf "%s{\"bar\": \"%s\", \"value\": %.4f, \"most\": %.4f, \"kept\": %s}", \
		(nbars++ ? ", " : ""), what, value, most, kept ? "true" : "false" > json
}
FNR == 1 { who = FILENAME; sub(/.*\//, "", who); sub(/\.txt$/, "", who) }
who == "groups" { group[$2] = $1; next }
who == "packages" {
	packages = packages (packages ? ", " : "") "\"" $2 ":" $1 "\": \"" $3 "\""
	next
}
who == "boot" {
	cpu[$1] = cpu[$1] " " $3; wall[$1] = wall[$1] " " $4
	if ($5) { say("boot in " $1 " ended with status " $5); bad = 1 }
	next
}
{ if (!($1 in seen)) { seen[$1] = 1; order[++names] = $1 } }
$2 == "failed:" {
	why = $0; sub(/^[^ ]* failed: */, "", why)
	failed[who, $1] = why
	next
}
{
	# The host accounts a running process a tick late: below two ticks the guest's own clock,
	# if it says more, is nearer the truth.
	if (who != "native" && $2 < 0.008 && $4 > $2) $2 = $4
	took[who, $1] = took[who, $1] " " $2; own[who, $1] = own[who, $1] " " $4
	if ((who, $1) in sum && sum[who, $1] != $3) failed[who, $1] = "its checksum changes"
	sum[who, $1] = $3
}
END {
	printf "{\"arch\": \"%s\", \"engine\": \"%s\", \"runs\": %d, \"quick\": %s, \"packages\": {%s},\n", \
		arch, engine, runs, quick ? "true" : "false", packages > json
	printf "\"programs\": [" > json
	printf "%-10s %9s %9s %9s %11s\n", "program", "native s", "lodge x", "qemu x", "qemu/lodge"
	for (i = 1; i <= names; i++) {
		p = order[i]; g = group[p]
		for (w = split("native lodge qemu", whos, " "); w; w--)
			if ((whos[w], p) in failed) {
				say(p " in " whos[w] ": " failed[whos[w], p])
				if (whos[w] != "qemu" && failed[whos[w], p] != "no time left") bad = 1
				took[whos[w], p] = ""
			} else if (whos[w] != "native" && sum[whos[w], p] != sum["native", p] && took[whos[w], p]) {
				say(p ": " whos[w] " computed " sum[whos[w], p] ", not " sum["native", p])
				if (whos[w] != "qemu") bad = 1
				took[whos[w], p] = ""
			}
		n = median(took["native", p]); l = median(took["lodge", p]); q = median(took["qemu", p])
		printf "%s\n{\"name\": \"%s\", \"group\": \"%s\", \"native_s\": %s, \"lodge_s\": %s, \"qemu_s\": %s, \"lodge_guest_s\": %s, \"qemu_guest_s\": %s}", \
			(i > 1 ? "," : ""), p, g, num(n), num(l), num(q), num(median(own["lodge", p])), num(median(own["qemu", p])) > json
		if (!n || (!l && !q)) continue
		x[p] = l / n
		printf "%-10s %9.4f %9s %9s %11s\n", p, n, times(l / n, 2), times(q / n, 2), l ? times(q / l, 2) : "-"
		if (l) { a[g] += log(l / n); na[g]++ }
		if (q) { c[g] += log(q / n); nc[g]++ }
		if (l && q) { b[g] += log(q / l); nb[g]++ }
		# QEMU does vectors by calls, an element at a time: they would decide its mean.
		if (l && g != "vector") { a["all"] += log(l / n); na["all"]++ }
		if (l && q && g != "vector") { b["all"] += log(q / l); nb["all"]++ }
	}
	printf "],\n\"groups\": [" > json
	print ""
	for (i = 1; i <= split("integer float memory vector system programs", order_g, " "); i++) {
		g = order_g[i]
		if (!na[g]) continue
		printf "%-10s %9s %9.2f %9s %11s\n", "= " g, na[g], mean(a[g], na[g]), times(mean(c[g], nc[g]), 2), times(mean(b[g], nb[g]), 2)
		printf "%s{\"group\": \"%s\", \"programs\": %d, \"lodge_over_native\": %s, \"qemu_over_native\": %s, \"qemu_over_lodge\": %s}", \
			(k++ ? ", " : ""), g, na[g], num(mean(a[g], na[g])), num(mean(c[g], nc[g])), num(mean(b[g], nb[g])) > json
	}
	lc = median(cpu["lodge"]); lw = median(wall["lodge"]); qc = median(cpu["qemu"]); qw = median(wall["qemu"])
	printf "],\n\"boot\": {\"lodge_cpu_s\": %s, \"lodge_wall_s\": %s, \"qemu_cpu_s\": %s, \"qemu_wall_s\": %s},\n\"bars\": [", num(lc), num(lw), num(qc), num(qw) > json
	if (lc) printf "\nboot to power-off: Lodge %.2f s CPU, %.2f s wall; QEMU %s s CPU, %s s wall\n", lc, lw, times(qc, 2), times(qw, 2)
	if (bars) print ""
	for (i = 1; i <= split(bars, word, "[ \n]+") - 1; i += 2)
		if (x[word[i]]) bar(word[i] " x native", x[word[i]], word[i + 1], 2)
		else if (word[i] != "") printf "MISSED  %s: did not run\n", word[i]
	if (lc && qc) {
		bar("boot CPU s, against QEMU's", lc, qc, 3)
		bar("boot wall s, against QEMU's", lw, qw, 3)
	}
	printf "],\n\"lodge_over_native\": %.4f, \"faster_than_qemu\": %.4f}\n", mean(a["all"], na["all"]), mean(b["all"], nb["all"]) > json
	fflush(); close(json)
	printf "geomean %s: %.2f x native, %.2f x faster than qemu\n", arch, mean(a["all"], na["all"]), mean(b["all"], nb["all"])
	exit bad
}
