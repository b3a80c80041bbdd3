#!lua flags=allow-oom
-- Writes all that a turn has decided, or nothing.
--
-- KEYS  meta stock held ended ends adjusted ticketed tickets hot histories routes cursors depths
--       answers, then in the order of their use: each step's stream, each chunk's journal, each SKU's purchases,
--       and for each route the SKU's stream, and with a mark the stream that it goes into and the one
--       that posts go into from then on.
-- ARGV  the lease's nonce, the turn that this one follows, this turn; then sections, each after its
--       length; see the reading below.
-- Returns {'committed', id of the answers' entry or ''}, or {reason} if nothing was written.
--
-- All that can fail is looked at before anything is written: an error in the middle would leave half
-- a turn. So it may exceed maxmemory, which a turn frees more of than it takes. A journal would refuse
-- a version that is not later than its last. It has none such: only turns write it, each together with
-- the stock that the next one's versions follow, and the turn before this one is the last there is.
local PIECE = 4000 -- Arguments of one call: what Lua's stack has room for, an even number.
local ANSWERS_MAX, ANSWERS_KEPT_MS = 10000, 30000

local meta, stock, held, ended, ends, adjusted, ticketed, tickets, hot, histories, routes, cursors,
  depths, answers = unpack(KEYS, 1, 14)
local key, at = 14, 0

local function next_key()
  key = key + 1
  return KEYS[key]
end

local function take()
  at = at + 1
  return ARGV[at]
end

local function count() return tonumber(take()) end

-- Calls a command with all of a section, in pieces.
local function apply(command, to)
  local left = count()
  while left > 0 do
    local piece = math.min(left, PIECE)
    redis.call(command, to, unpack(ARGV, at + 1, at + piece))
    at, left = at + piece, left - piece
  end
end

-- Reads a step, and whether what it rests on is there.
local function next_step()
  local step = { stream = next_key(), name = take(), to = take(), keep = take(), decided = take() }
  local newest, nonce = take(), take()
  local entry = redis.call('XRANGE', step.stream, newest, newest)[1]
  return step, entry and entry[2][2] == nonce
end

local lease = redis.call('HMGET', meta, 'nonce', 'turn')
if lease[1] ~= take() then return { 'fenced' } end
if lease[2] ~= take() then return { 'history' } end
local turn, steps = take(), {}
for place = 1, count() do
  local is_there
  steps[place], is_there = next_step()
  if not is_there then return { 'entry' } end
end

redis.call('HSET', meta, 'turn', turn)
-- What is forgotten goes first: what is written in the same turn stays.
apply('HDEL', ended)
apply('HDEL', adjusted)
apply('ZREM', ends)
apply('HSET', stock)
apply('HSET', held)
apply('HDEL', held)
apply('HSET', ended)
apply('HSET', adjusted)
apply('ZADD', ends)
apply('HSET', ticketed)
apply('HDEL', ticketed)
apply('HDEL', tickets)
apply('HSET', tickets)
apply('HSET', hot)
apply('HDEL', hot)
apply('HSET', histories)
apply('HDEL', histories)
for _ = 1, count() do
  local keep, version, chunk = take(), take(), take()
  redis.call('XADD', next_key(), 'MINID', keep, version, 'd', chunk)
end
for _ = 1, count() do
  local bought = next_key()
  for _ = 1, count() do
    local customer, units = take(), take()
    redis.call('HINCRBY', bought, customer, units)
  end
end

for _, step in ipairs(steps) do
  redis.call('HSET', cursors, step.name, step.to)
  redis.call('XTRIM', step.stream, 'MINID', step.keep)
  if step.decided ~= '0' then redis.call('HINCRBY', depths, step.name, '-' .. step.decided) end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _ = 1, count() do
  local sku, name, route, nonce = take(), take(), take(), take()
  local stream = next_key()
  if route ~= '' then
    redis.call('HSET', routes, sku, route)
  else
    redis.call('HDEL', routes, sku)
    redis.call('DEL', stream)
    redis.call('HDEL', cursors, name)
    redis.call('HDEL', depths, name)
  end
  if nonce ~= '' then
    local stamp = string.format('%.0f', now)
    local mark = redis.call('XADD', next_key(), '*', 'n', nonce, 't', stamp, 'h', sku)
    -- What is posted behind it is later by its id as well, though in another stream. One that is
    -- further already does not take it.
    local on = next_key()
    if type(redis.pcall('XADD', on, mark, 'n', '')) == 'string' then redis.call('XDEL', on, mark) end
  end
end
local routes_version = take()
if routes_version ~= '' then redis.call('HSET', meta, 'routes_version', routes_version) end

local told = take()
if told == '' then return { 'committed', '' } end
local entry = redis.call('XADD', answers, 'MAXLEN', '~', ANSWERS_MAX, '*', 'd', told)
redis.call('XTRIM', answers, 'MINID', '~', string.format('%.0f', now - ANSWERS_KEPT_MS))
return { 'committed', entry }
