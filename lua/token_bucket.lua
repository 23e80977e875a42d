-- Token buckets and quotas, many in one call: every counter of a group is charged one token, or none of the group is.
--
-- KEYS  one key per counter, the groups one after another; a key may come again in a later group.
-- ARGV  for each group a word of parts, then what those parts need, then two integers per counter. The word adds up
--         1 x counters that refuse, 1024 x counters that only watch (they come last),
--         2^20 if a lease is asked for: followed by the tokens wanted and the lease's life in ticks,
--         2^21 if a lease is settled: followed by its tick, its unspent tokens, its life, and per refusing counter what
--              the lease moved it forward beside its tokens,
--         2^22 if nothing is charged: the group only settles.
--       The two integers are a bucket's interval and capacity in ticks, or -1 (day), -2 (month) and a quota's count.
-- Returns three integers per counter of each charging group: tokens left, ticks until it has a token (0 if it had one),
-- ticks until it is full again; and where a lease was asked for, two more: tokens leased, and the tick of it.
--
-- A tick is 125 ns. The state of a bucket is one integer: the tick at which it will be full. Charging a token moves that
-- moment one interval further away, and a bucket is empty when the moment is a whole capacity (interval x burst) away.
-- This is the generic cell rate algorithm. The state of a quota is its period's number x 2^32 + what was used in it.
-- Everything is an integer below 2^53, so Lua's doubles are exact and gateway/edge/token_bucket.py, which does the same
-- in the process, gives the same answers.
--
-- A lease is tokens a worker may spend later, within the lease's life. So that over any window no more than
-- burst + rate x t are admitted, a leasing bucket is first treated as it would be at the end of that life: what it would
-- have saved up until then is given up, as if all the tokens were spent at the last moment. Settling gives back what was
-- not spent, and what was given up for the time that the lease did not need (docs/adr/0012).
--
-- The clock is the server's own. If it jumps back, a bucket counts as empty (never as emptier than empty) and refills,
-- and what a later period had used counts against this one.

local EPOCH_S = 1577836800 -- 2020-01-01: ticks since then stay below 2^53 until 2055
local SECOND = 8000000
local SPARE_MS = 1000 -- a key outlives its usefulness by this much, then Redis drops it
local PERIOD = 4294967296
local SMALLEST_LEASE = 16
local LEASED_PART = 8 -- a lease takes at most this part of what is left

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now = (now_s - EPOCH_S) * SECOND + time[2] * 8

local state = {}
local changed = {} -- ticks for which the new state matters
local stored = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  state[key] = tonumber(stored[i] or '')
end

local periods = {}

-- First tick, number x 2^32 and ticks left of the day or month. The civil calendar counted in years from March
-- (Howard Hinnant, "chrono-compatible low-level date algorithms").
local function period(kind)
  local found = periods[kind]
  if found then return found end
  local day = math.floor(now_s / 86400)
  local first, after, number = day, day + 1, day
  if kind == -2 then
    local of_era = (day + 719468) % 146097
    local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
                             - math.floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
    local march = math.floor((5 * of_year + 2) / 153) -- months since March
    first = day - of_year + math.floor((153 * march + 2) / 5)
    year = year + 400 * math.floor((day + 719468) / 146097)
    number = year * 12 + march + 2 - 1970 * 12
    local month_days = math.floor((153 * (march + 1) + 2) / 5) - math.floor((153 * march + 2) / 5)
    if march == 11 then -- February
      local february = year + 1
      local leap = february % 4 == 0 and (february % 100 ~= 0 or february % 400 == 0)
      month_days = leap and 29 or 28
    end
    after = first + month_days
  end
  found = {(first * 86400 - EPOCH_S) * SECOND, number * PERIOD, (after * 86400 - EPOCH_S) * SECOND - now}
  periods[kind] = found
  return found
end

-- Brings the state of a counter up to now; returns ticks until it has a token.
local function wait_of(key, interval, capacity)
  local value = state[key]
  if interval < 0 then
    local span = period(interval)
    if not value or value < span[2] then
      value = span[2]
    elseif value >= span[2] + PERIOD then
      value = span[2] + value % PERIOD
      changed[key] = span[3]
    end
    state[key] = value
    return value - span[2] >= capacity and span[3] or 0
  end
  if not value or value < now then
    value = now
  elseif value > now + capacity then
    value = now + capacity
    changed[key] = capacity -- also when refused: otherwise it would stay empty until the clock has caught up
  end
  state[key] = value
  return math.max(0, value + interval - now - capacity)
end

local function charge(key, interval, tokens)
  if interval < 0 then
    state[key] = state[key] + tokens
    changed[key] = period(interval)[3]
  else
    state[key] = state[key] + tokens * interval
    changed[key] = state[key] - now
  end
end

local answers = {}
local argument = 1
local first = 1
while first <= #KEYS do
  local word = tonumber(ARGV[argument])
  local refusing = word % 1024
  local counters = refusing + math.floor(word / 1024) % 1024
  local leasing = math.floor(word / 1048576) % 2 == 1
  local settling = math.floor(word / 2097152) % 2 == 1
  argument = argument + 1
  local wanted, life
  if leasing then
    wanted, life = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
    argument = argument + 2
  end
  local settled_at = argument
  if settling then argument = argument + 3 + refusing end
  local interval, capacity = {}, {}
  for i = 1, counters do
    interval[i], capacity[i] = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
    argument = argument + 2
  end

  if settling then
    local since, unspent = tonumber(ARGV[settled_at]), tonumber(ARGV[settled_at + 1])
    local early = tonumber(ARGV[settled_at + 2]) - (now - since) -- negative: later than the lease's life
    for i = 1, refusing do
      local key = KEYS[first + i - 1]
      if state[key] and since <= now then
        if interval[i] < 0 then
          local span = period(interval[i])
          if since >= span[1] and state[key] >= span[2] and state[key] < span[2] + PERIOD then
            state[key] = math.max(span[2], state[key] - unspent)
            changed[key] = span[3]
          end
        else
          local back = unspent * interval[i]
          if early >= 0 then
            back = back + math.min(tonumber(ARGV[settled_at + 2 + i]), early)
          else
            back = math.max(0, back + early)
          end
          if back > 0 then
            state[key] = state[key] - back
            changed[key] = math.max(0, state[key] - now)
          end
        end
      end
    end
  end

  if word < 4194304 then
    local charged = true
    local waits = {}
    for i = 1, counters do
      waits[i] = wait_of(KEYS[first + i - 1], interval[i], capacity[i])
      if i <= refusing and waits[i] > 0 then charged = false end
    end
    for i = 1, counters do
      local key = KEYS[first + i - 1]
      if charged and waits[i] == 0 then charge(key, interval[i], 1) end
      if interval[i] < 0 then
        local span = period(interval[i])
        answers[#answers + 1] = math.max(0, capacity[i] - (state[key] - span[2]))
        answers[#answers + 1] = waits[i]
        answers[#answers + 1] = span[3]
      else
        answers[#answers + 1] = math.floor((now + capacity[i] - state[key]) / interval[i])
        answers[#answers + 1] = waits[i]
        answers[#answers + 1] = state[key] - now
      end
    end
    if leasing then
      local tokens = charged and wanted or 0
      for i = 1, refusing do
        local value = state[KEYS[first + i - 1]]
        local left
        if interval[i] < 0 then
          left = capacity[i] - (value - period(interval[i])[2])
        else
          left = math.floor((now + capacity[i] - math.max(value, now + life)) / interval[i])
        end
        tokens = math.min(tokens, math.floor(left / LEASED_PART))
      end
      if tokens < SMALLEST_LEASE then tokens = 0 end
      if tokens > 0 then
        for i = 1, refusing do
          local key = KEYS[first + i - 1]
          if interval[i] >= 0 then state[key] = math.max(state[key], now + life) end
          charge(key, interval[i], tokens)
        end
      end
      answers[#answers + 1] = tokens
      answers[#answers + 1] = now
    end
  end
  first = first + counters
end

for key, ticks in pairs(changed) do
  local left_ms = math.ceil(ticks / 8000) + SPARE_MS
  redis.call('SET', key, string.format('%.0f', state[key]), 'PX', string.format('%.0f', left_ms))
end
return answers
