#!lua flags=allow-oom
-- Takes a bucket's lease, unless another worker has it.
--
-- KEYS  meta tenures
-- ARGV  worker, a new nonce, how long the lease lasts in milliseconds
-- Returns 1; 2 if another had the lease and has not given it back; 0 if another has it.
local TENURES_KEPT = 100
local worker, nonce, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'worker', 'until_ms', 'turn')
local left_ms = tonumber(lease[2] or 0) - now
-- One that lasts longer than any does is from before the clock was set back.
if lease[1] ~= worker and left_ms > 0 and left_ms <= lease_ms then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', TENURES_KEPT, '*', 'worker', worker, 'after', lease[3] or '')
redis.call('HSET', KEYS[1], 'worker', worker, 'nonce', nonce, 'turn', nonce,
  'until_ms', string.format('%.0f', now + lease_ms))
if lease[1] and lease[1] ~= worker and lease[2] then return 2 end
return 1
