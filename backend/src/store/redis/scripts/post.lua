-- Puts what callers ask for into a bucket's streams.
--
-- KEYS  meta routes depths settle, then the stream of each group, then the one that each
--       ticket's command is in.
-- ARGV  a nonce; the version of the routes that reserve commands were sorted by, '' if there are
--       none; the number of groups, and of each its stream's name, how much is in it, how much the
--       stream may have, and itself; the number of wishes for tickets, and of each until when its
--       command is good without it, the command's entry and its nonce, and what the
--       owner reads, who gives it.
-- Returns {'moved', version, SKUs with streams of their own ...} if the routes are not these;
--       otherwise {'posted', now, {entry by group}, {1 or 0 by ticket}}, nil for a stream that is
--       full, 0 for a ticket that comes too late.
--
-- With reserve commands in it, Redis refuses it when it is out of memory: nothing has happened then.
-- Without, it is called by another name, and may exceed maxmemory: whoever has paid must get through.
local PIECE = 4000 -- Arguments of one call: what Lua's stack has room for, an even number.

local meta, routes, depths, settle = unpack(KEYS, 1, 4)
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

local entries = {}
for group = 1, tonumber(take()) do
  local name, count, max, data = take(), tonumber(take()), tonumber(take()), take()
  local depth = tonumber(redis.call('HGET', depths, name) or 0)
  entries[group] = false
  if depth + count <= max then
    entries[group] = redis.call('XADD', KEYS[4 + group], '*', 'n', nonce, 't', stamp, 'd', data)
    redis.call('HINCRBY', depths, name, count)
  end
end

-- Whether the entry is there. What is decided is trimmed, and a failover may have lost it, and given
-- its id to another; the stream itself may be another by now.
local found = {}
local function is_there(stream, entry, its_nonce)
  local name = stream .. ' ' .. entry
  if found[name] == nil then
    local one = redis.call('XRANGE', stream, entry, entry)[1]
    found[name] = one and one[2][2] or ''
  end
  return found[name] == its_nonce
end

local is_in_time, wishes = {}, {}

local function tell_owner()
  if #wishes == 0 then return end
  redis.call('XADD', settle, '*', 'n', nonce, 't', stamp, unpack(wishes))
  redis.call('HINCRBY', depths, 'settle', #wishes / 2)
  wishes = {}
end

for ticket = 1, tonumber(take()) do
  local claim_by, entry, its_nonce, data = tonumber(take()), take(), take(), take()
  is_in_time[ticket] = 0
  if now <= claim_by and is_there(KEYS[4 + #entries + ticket], entry, its_nonce) then
    wishes[#wishes + 1], wishes[#wishes + 2] = 'd', data
    is_in_time[ticket] = 1
    if #wishes >= PIECE then tell_owner() end
  end
end
tell_owner()
return { 'posted', now, entries, is_in_time }
