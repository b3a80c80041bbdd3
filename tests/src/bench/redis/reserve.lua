-- A reservation, as one would write it with a script and nothing else: what is written is what the
-- engine writes for it, and each of the six writes is needed.
--
-- KEYS  stock versions holds ends journal results
-- ARGV  id, SKU, customer, units, how long the hold lasts in milliseconds
-- Returns the outcome; the same one again if it was asked before.
local known = redis.call('HGET', KEYS[6], ARGV[1])
if known then return known end
local units = tonumber(ARGV[4])
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0)
if before < units then
  redis.call('HSET', KEYS[6], ARGV[1], 'sold-out')
  return 'sold-out'
end
local time = redis.call('TIME')
local until_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5])
local after = redis.call('HINCRBY', KEYS[1], ARGV[2], -units)
local version = redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. units .. ' ' .. until_ms)
redis.call('ZADD', KEYS[4], until_ms, ARGV[1])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', 100000, version .. '-0', 'id', ARGV[1],
  'cause', 'reserve', 'before', before, 'after', after)
local outcome = 'held ' .. until_ms
redis.call('HSET', KEYS[6], ARGV[1], outcome)
return outcome
