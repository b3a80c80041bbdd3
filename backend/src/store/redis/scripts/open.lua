#!lua flags=allow-oom
-- Opens the store, or makes it.
--
-- KEYS  store
-- ARGV  format, number of buckets, secret: what it is made with
-- Returns what it was made with.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'buckets', ARGV[2], 'secret', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'format', 'buckets', 'secret')
