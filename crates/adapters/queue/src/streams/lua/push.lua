-- The first write of a push takes memory, so a server that has none left refuses the push as a whole: a script that has
-- written goes on.
-- ARGV: delay ms, most messages that may wait, then the messages. Returns how many were dropped because too many wait.
local delay, bound = tonumber(ARGV[1]), tonumber(ARGV[2])
local room = bound - tonumber(redis.call('HGET', numbers, 'waiting') or '0') - redis.call('ZCARD', delayed)
local recounted = false
local changed, dropped = false, 0

local function is_full()
  if room <= 0 and not recounted then
    -- a count that drifted must not turn work away
    recounted = true
    room = bound - count_waiting() - redis.call('ZCARD', delayed)
  end
  return room <= 0
end

local function put(message)
  if delay == 0 then
    join_line(message)
  else
    redis.call('ZADD', delayed, now + delay, message)
  end
  changed = true
end

for index = 3, #ARGV do
  local message = ARGV[index]
  local lane, job = place_of(message)
  if not redis.call('ZSCORE', line_of(lane, job), message) then
    local due = redis.call('ZSCORE', delayed, message)
    if due then
      -- never later than asked for
      if now + delay < tonumber(due) then
        put(message)
        if delay == 0 then
          redis.call('ZREM', delayed, message)
        end
      end
    elseif entry_of(message) then
      if is_tick(message) then
        redis.call('SADD', again, message)
      end
    elseif is_full() then
      dropped = dropped + 1
    else
      put(message)
      room = room - 1
    end
  end
end
keep_numbers()
if changed then
  ring()
end
return dropped
