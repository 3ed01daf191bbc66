-- ARGV: entry, consumer, the entry's deliveries, visibility ms. Returns 1, or 0 where the delivery is another's by now.
-- Without the check a slow consumer would take its entry back from the next one.
local id, consumer, count, visibility = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not is_held(id, consumer, count) then
  return 0
end
-- JUSTID: resets the idle time that people see, and counts no delivery
redis.call('XCLAIM', stream, GROUP, consumer, 0, id, 'JUSTID')
redis.call('ZADD', leases, now + visibility, id)
return 1
