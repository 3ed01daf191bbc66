-- ARGV: entry, consumer, the entry's deliveries, message. Returns 1, or 0 where the delivery is another's by now, or gone.
local id, consumer, count, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_held(id, consumer, count) then
  return 0
end
remove(id, message)
if redis.call('SREM', again, message) == 1 then
  join_line(message)
  keep_numbers()
  ring()
end
return 1
