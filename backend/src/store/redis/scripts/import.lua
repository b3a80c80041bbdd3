#!lua flags=allow-oom
-- Says how far the import of a content is, or that nothing is to be known of it any more.
--
-- KEYS  records, order
-- ARGV  digest, the run whose record is there or nothing if it does not matter, record or nothing to
--       remove it, the most records
-- Returns 1, or 0 if the record that is there is another run's, or none.
local records, order, digest, after, record = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local max = tonumber(ARGV[4])
if after ~= '' then
  local before = redis.call('HGET', records, digest)
  if not before or string.sub(before, 1, #after) ~= after then return 0 end
end
if record == '' then
  redis.call('HDEL', records, digest)
  redis.call('ZREM', order, digest)
  return 1
end
local time = redis.call('TIME')
redis.call('HSET', records, digest, record)
redis.call('ZADD', order, string.format('%.0f', time[1] * 1000000 + time[2]), digest)
local over = redis.call('ZCARD', order) - max
if over > 0 then
  local oldest = redis.call('ZPOPMIN', order, over)
  for i = 1, #oldest, 2 do redis.call('HDEL', records, oldest[i]) end
end
return 1
