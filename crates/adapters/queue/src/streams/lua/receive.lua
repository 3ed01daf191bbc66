-- ARGV: consumer, most messages, visibility ms. Returns { ms until something changes by itself (-1: nothing will), { { entry,
-- message, the entry's deliveries, the message's deliveries, ms it was ready }, ... } }. Delivery and lease are one step, so
-- no delivery is without a lease, whoever dies when.
local consumer, max, visibility = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = {}

local function hand_over(id, fields, count)
  -- fields: m, message, n, deliveries before this entry, s, ready since (microseconds)
  redis.call('ZADD', leases, now + visibility, id)
  local waited = math.max(0, math.floor((now_us - tonumber(fields[6])) / 1000))
  taken[#taken + 1] = { id, fields[2], digits(count), digits(count + tonumber(fields[4])), digits(waited) }
end

-- The message whose turn it is, and since when it waits.
local function next_in_turn()
  while true do
    local lane = redis.call('ZRANGE', lanes, 0, 0)[1]
    if not lane then
      redis.call('HSET', numbers, 'waiting', 0)
      return nil
    end
    local jobs = jobs_of(lane)
    local job = redis.call('ZRANGE', jobs, 0, 0)[1]
    local first = {}
    if job then
      local line = line_of(lane, job)
      first = redis.call('ZPOPMIN', line)
      -- behind the others, or out where nothing is left
      if redis.call('EXISTS', line) == 1 then
        redis.call('ZADD', jobs, following(), job)
      else
        redis.call('ZREM', jobs, job)
      end
    end
    if redis.call('EXISTS', jobs) == 1 then
      redis.call('ZADD', lanes, following(), lane)
    else
      redis.call('ZREM', lanes, lane)
    end
    if first[1] then
      redis.call('HINCRBY', numbers, 'waiting', -1)
      return first[1], first[2]
    end
  end
end

for _, message in ipairs(redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, 256)) do
  redis.call('ZREM', delayed, message)
  join_line(message)
end

-- deliveries whose time is over
for _, id in ipairs(redis.call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, max)) do
  local claimed = in_group('XCLAIM', stream, GROUP, consumer, 0, id)
  local entry = claimed and claimed[1]
  if entry then
    -- whoever has it now begins after what was pushed meanwhile
    redis.call('SREM', again, entry[2][2])
    hand_over(id, entry[2], pending(id)[4])
  else
    redis.call('ZREM', leases, id)
  end
end

local room = max - #taken
if room > 0 then
  for _ = 1, room do
    local message, since = next_in_turn()
    if not message then
      break
    end
    local before = redis.call('HGET', earlier, message) or '0'
    redis.call('HDEL', earlier, message)
    local id = redis.call('XADD', stream, '*', 'm', message, 'n', before, 's', digits(tonumber(since)))
    redis.call('HSET', entries, message, id)
  end
  local read = in_group('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', room, 'STREAMS', stream, '>')
  if not read then
    -- from the start: whatever the stream still holds has no owner any more
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    read = in_group('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', room, 'STREAMS', stream, '>')
  end
  for _, entry in ipairs(read[1] and read[1][2] or {}) do
    hand_over(entry[1], entry[2], 1)
  end
end
keep_numbers()

local change = -1
if #taken == 0 then
  for _, timers in ipairs({ delayed, leases }) do
    local first = redis.call('ZRANGE', timers, 0, 0, 'WITHSCORES')[2]
    if first then
      local left = math.max(0, tonumber(first) - now)
      change = change < 0 and left or math.min(change, left)
    end
  end
end
return { change, taken }
