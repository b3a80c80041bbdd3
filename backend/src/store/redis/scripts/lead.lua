#!lua flags=allow-oom
-- Takes the lead of the fleet of edges, keeps it, or gives it back.
--
-- KEYS  control
-- ARGV  an incarnation, how long the lease lasts from now in milliseconds, `take`, `keep` or `give`
-- Returns 1, or 0 if the lead is another's; or nobody's, which is not kept but has to be taken: somebody
-- may have had it in between.
local control, incarnation, lease_ms, step = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local leader = redis.call('GET', control)
if step == 'take' and leader then return 0 end
if step ~= 'take' and leader ~= incarnation then return 0 end
if step == 'give' then
  redis.call('DEL', control)
else
  redis.call('SET', control, incarnation, 'PX', lease_ms)
end
return 1
