-- Puts what callers ask for into a bucket's streams.
--
-- KEYS  meta routes depths tickets settle, then the stream of each group.
-- ARGV  a nonce; the version of the routes that reserve commands were sorted by, '' if there are
--       none; the number of groups, and of each its stream's name, how much is in it, how much the
--       stream may have, and itself; the number of tickets, and of each its id, until when its
--       command is good without it, what is stored, and what the owner reads.
-- Returns {'moved', version, SKUs with streams of their own ...} if the routes are not these;
--       otherwise {'posted', now, {1 or 0 by group}, {1 or 0 by ticket}}, 0 for a stream that is
--       full, a ticket that comes too late.
--
-- With reserve commands in it, Redis refuses it when it is out of memory: nothing has happened then.
-- Without, it is called by another name, and may exceed maxmemory: whoever has paid must get through.
local PIECE = 4000 -- Arguments of one call: what Lua's stack has room for, an even number.

local meta, routes, depths, tickets, settle = unpack(KEYS, 1, 5)
local at = 0

local function take()
  at = at + 1
  return ARGV[at]
end

local nonce, routes_version = take(), take()
if routes_version ~= '' then
  local version = redis.call('HGET', meta, 'routes_version') or '0'
  if version ~= routes_version then
    local moved = { 'moved', version }
    local all = redis.call('HGETALL', routes)
    for i = 1, #all, 2 do
      if all[i + 1] ~= 'leaving' then moved[#moved + 1] = all[i] end
    end
    return moved
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)

local is_posted = {}
for group = 1, tonumber(take()) do
  local name, count, max, data = take(), tonumber(take()), tonumber(take()), take()
  local depth = tonumber(redis.call('HGET', depths, name) or 0)
  is_posted[group] = 0
  if depth + count <= max then
    redis.call('XADD', KEYS[5 + group], '*', 'n', nonce, 't', stamp, 'd', data)
    redis.call('HINCRBY', depths, name, count)
    is_posted[group] = 1
  end
end

local is_given, given = {}, {}

-- Puts the tickets that are given into the stream.
local function tell_owner()
  if #given == 0 then return end
  redis.call('XADD', settle, '*', 'n', nonce, 't', stamp, unpack(given))
  redis.call('HINCRBY', depths, 'settle', #given / 2)
  given = {}
end

for ticket = 1, tonumber(take()) do
  local id, claim_by, value, data = take(), tonumber(take()), take(), take()
  is_given[ticket] = 0
  if now <= claim_by then
    redis.call('HSET', tickets, id, value)
    given[#given + 1], given[#given + 2] = 'd', data
    is_given[ticket] = 1
    if #given >= PIECE then tell_owner() end
  end
end
tell_owner()
return { 'posted', now, is_posted, is_given }
