-- ARGV: entry, consumer, the entry's deliveries, message, delay ms, deliveries to remember. Returns 1, or 0 where the delivery
-- is another's by now, or gone.
local id, consumer, count, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local delay, before = tonumber(ARGV[5]), ARGV[6]
if not is_held(id, consumer, count) then
  return 0
end
remove(id, message)
redis.call('HSET', earlier, message, before)
-- what was pushed meanwhile was pushed to be looked at now
if redis.call('SREM', again, message) == 1 or delay == 0 then
  join_line(message)
  keep_numbers()
else
  redis.call('ZADD', delayed, now + delay, message)
end
ring()
return 1
