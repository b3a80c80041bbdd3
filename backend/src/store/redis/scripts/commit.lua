#!lua flags=allow-oom
-- Writes all that a turn has decided, or nothing.
--
-- KEYS  meta stock held ended ends adjusted ticketed tickets hot routes cursors depths answers, then
--       in the order of their use: each step's stream, each chunk's journal, each SKU's purchases,
--       and for each route the SKU's stream and the stream that a mark goes into.
-- ARGV  the lease (epoch, nonce), then sections, each after its length; see the reading below.
-- Returns {'committed', id of the answers' entry or ''}, or {reason} if nothing was written.
--
-- All that can fail is looked at before anything is written: an error in the middle would leave half
-- a turn. So it may exceed maxmemory, which a turn frees more of than it takes.
local PIECE = 4000 -- Arguments of one call: what Lua's stack has room for, an even number.
local ANSWERS_MAX, ANSWERS_KEPT_MS = 10000, 30000

local meta, stock, held, ended, ends, adjusted, ticketed, tickets, hot, routes, cursors, depths,
  answers = unpack(KEYS, 1, 13)
local key, at = 13, 0

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

-- Whether each field of a section has the value of the section after it; '' stands for none.
local function is_unchanged(hash)
  local fields = count()
  local values = at + fields
  for first = 1, fields, PIECE do
    local last = math.min(first + PIECE - 1, fields)
    local stored = redis.call('HMGET', hash, unpack(ARGV, at + first, at + last))
    for place, value in ipairs(stored) do
      if (value or '') ~= ARGV[values + first + place - 1] then return false end
    end
  end
  at = values + fields
  return true
end

-- Reads a step, and says why it cannot be taken.
local function next_step()
  local step = { stream = next_key(), name = take(), to = take(), keep = take(), decided = take() }
  local from, newest, nonce = take(), take(), take()
  if (redis.call('HGET', cursors, step.name) or '') ~= from then return step, 'cursor' end
  local entry = redis.call('XRANGE', step.stream, newest, newest)[1]
  if not entry or entry[2][2] ~= nonce then return step, 'entry' end
  return step
end

local lease = redis.call('HMGET', meta, 'epoch', 'nonce')
if lease[1] ~= take() or lease[2] ~= take() then return { 'fenced' } end
local steps = {}
for place = 1, count() do
  local refused
  steps[place], refused = next_step()
  if refused then return { refused } end
end
if not is_unchanged(stock) then return { 'stock' } end

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
apply('HSET', hot)
apply('HDEL', hot)
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
    redis.call('XADD', next_key(), '*', 'n', nonce, 't', stamp, 'h', sku)
  end
end
local routes_version = take()
if routes_version ~= '' then redis.call('HSET', meta, 'routes_version', routes_version) end

local told = take()
if told == '' then return { 'committed', '' } end
local entry = redis.call('XADD', answers, 'MAXLEN', '~', ANSWERS_MAX, '*', 'd', told)
redis.call('XTRIM', answers, 'MINID', '~', string.format('%.0f', now - ANSWERS_KEPT_MS))
return { 'committed', entry }
