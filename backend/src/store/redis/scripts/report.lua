#!lua flags=allow-oom
-- Says that a worker is there, and asks who else is.
--
-- KEYS  workers
-- ARGV  worker, its report, how long that counts in milliseconds
-- Returns the reports that count. The others are removed.
local workers, worker, report, counts_ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', workers, worker, string.format('%.0f ', now + counts_ms) .. report)
local all, reports = redis.call('HGETALL', workers), {}
for i = 1, #all, 2 do
  local space = string.find(all[i + 1], ' ', 1, true)
  local left_ms = tonumber(string.sub(all[i + 1], 1, space - 1)) - now
  -- One that counts for longer than any does is from before the clock was set back.
  if left_ms > 0 and left_ms <= counts_ms then
    reports[#reports + 1] = string.sub(all[i + 1], space + 1)
  else
    redis.call('HDEL', workers, all[i])
  end
end
return reports
