#!lua flags=allow-oom
-- Keeps a bucket's lease, or gives it back.
--
-- KEYS  meta
-- ARGV  its nonce, how long the lease lasts from now in milliseconds; 0 gives it back
-- Returns 1, or 0 if the lease is another's, or nobody's.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], 'nonce', 'until_ms')
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until_ms', string.format('%.0f', now + ARGV[2]))
return 1
