// Integers, maps, floats, strings, closures: hot enough to be compiled.
let s = 0;
for (let i = 0; i < 3e6; i++) s = (s * 31 + i) >>> 0;
const o = {};
for (let i = 0; i < 1e5; i++) o['k' + i % 997] = (o['k' + i % 997] || 0) + i;
let d = 0;
for (let i = 1; i < 1e6; i++) d += Math.sqrt(i) / (i + .5);
const f = [1, 2, 3, 4].map(k => x => (x * k) ^ (x >> k));
let h = 1;
for (let i = 0; i < 4e5; i++) h = f[i & 3](h + i) | 0;
console.log(s, d, JSON.stringify(o).length, h);
