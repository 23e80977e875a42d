-- Token buckets, many in one call: every bucket of a group is charged one token, or none of the group is.
--
-- KEYS  one key per bucket, the groups one after another; a key may come again in a later group.
-- ARGV  for each group: the number of its buckets, then for each bucket its interval and its capacity in ticks.
-- Returns three integers per bucket: tokens left, ticks until this bucket has a token (0 if it had one), ticks until it
-- is full again.
--
-- A tick is 125 ns. The state of a bucket is one integer: the tick at which it will be full. Charging a token moves that
-- moment one interval further away, and a bucket is empty when the moment is a whole capacity (interval x burst) away.
-- This is the generic cell rate algorithm. Everything is an integer below 2^53, so Lua's doubles are exact and
-- gateway/edge/token_bucket.py, which does the same in the process, gives the same answers.
--
-- The clock is the server's own. If it jumps back, a bucket counts as empty (never as emptier than empty) and refills.

local EPOCH_S = 1577836800 -- 2020-01-01: ticks since then stay below 2^53 until 2055
local SPARE_MS = 1000 -- a key outlives its usefulness by this much, then Redis drops it

local time = redis.call('TIME')
local now = (time[1] - EPOCH_S) * 8000000 + time[2] * 8

local full = {}
local changed = {}
local stored = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  full[key] = tonumber(stored[i] or '') or now
end

local answers = {}
local argument = 1
local first = 1
while first <= #KEYS do
  local buckets = tonumber(ARGV[argument])
  local charged = true
  for i = 0, buckets - 1 do
    local key = KEYS[first + i]
    local interval = tonumber(ARGV[argument + 1 + 2 * i])
    local empty = now + tonumber(ARGV[argument + 2 + 2 * i])
    if full[key] < now then full[key] = now end
    if full[key] > empty then
      full[key] = empty
      changed[key] = true -- also when refused: otherwise it would stay empty until the clock has caught up
    end
    if full[key] + interval > empty then charged = false end
  end
  for i = 0, buckets - 1 do
    local key = KEYS[first + i]
    local interval = tonumber(ARGV[argument + 1 + 2 * i])
    local empty = now + tonumber(ARGV[argument + 2 + 2 * i])
    local wait = math.max(0, full[key] + interval - empty)
    if charged then
      full[key] = full[key] + interval
      changed[key] = true
    end
    answers[#answers + 1] = math.floor((empty - full[key]) / interval)
    answers[#answers + 1] = wait
    answers[#answers + 1] = full[key] - now
  end
  argument = argument + 1 + 2 * buckets
  first = first + buckets
end

for key in pairs(changed) do
  local left_ms = math.ceil((full[key] - now) / 8000) + SPARE_MS
  redis.call('SET', key, string.format('%.0f', full[key]), 'PX', string.format('%.0f', left_ms))
end
return answers
