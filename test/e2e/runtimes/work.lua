-- Integers, floats, tables, strings, bits: hot enough to be compiled.
local s = 0 for i = 1, 5e6 do s = (s * 31 + i) % 4294967291 end
local d = 0.0 for i = 1, 2e6 do d = d + math.sqrt(i) / (i + 0.5) end
local t = {} for i = 1, 2e5 do t[i % 1000 + 1] = (t[i % 1000 + 1] or 0) + i end
local x = 0 for i = 1, 1000 do x = x + t[i] * i end
local p = {} for i = 1, 20000 do p[#p + 1] = tostring(i * 7 % 13) end
local bit = require 'bit' local b = 1 for i = 1, 1e6 do b = bit.bxor(bit.rol(b, 5), i) end
print(s, string.format('%.13g', d), x, #table.concat(p), b)
