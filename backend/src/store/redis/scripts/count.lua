#!lua
-- Counts what was asked of hot items, and held, in the second that it is now.
--
-- KEYS  the hot items' rates
-- ARGV  for how many seconds back there are counts; then for each key: asked for, held
-- A field is a second modulo that, and its value the second and its counts: what has the place of
-- another second is replaced. The key goes when nothing was counted for so long.
local window_s, second = tonumber(ARGV[1]), tonumber(redis.call('TIME')[1])
for i, key in ipairs(KEYS) do
  local demand, admitted = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local place = second % window_s
  local before = redis.call('HGET', key, place)
  local at, asked, held = string.match(before or '', '^(%d+) (%d+) (%d+)$')
  if tonumber(at) == second then
    demand, admitted = demand + asked, admitted + held
  end
  redis.call('HSET', key, place, string.format('%.0f %.0f %.0f', second, demand, admitted))
  redis.call('EXPIRE', key, window_s)
end
