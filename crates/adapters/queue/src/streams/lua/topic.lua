-- What all scripts of a topic share. KEYS[1] is the topic's name; every key of a deployment carries the same hash tag, so a
-- script finds all of them in one slot of a cluster.
--
--   :stream    the entries under way, each pending in the group with the consumer that holds it
--   :leases    entry -> when its delivery ends, ms. A claim's minimum idle time is one number a call; this is one a delivery
--   :entries   message -> its entry
--   :delayed   message -> when it is due, ms
--   :lanes     project -> its turn; :jobs:<project> job -> its turn; :line:<project>:<job> message -> its place. The smallest
--              number is served next. A message is in its line or not: no second record of that can go stale
--   :earlier   message -> deliveries before it was given back
--   :again     ticks that were pushed while under way
--   :numbers   `last`, the last number given out; `waiting`, messages in all lines
local topic = KEYS[1]
local GROUP = 'workers'
local stream = topic .. ':stream'
local leases = topic .. ':leases'
local entries = topic .. ':entries'
local delayed = topic .. ':delayed'
local lanes = topic .. ':lanes'
local earlier = topic .. ':earlier'
local again = topic .. ':again'
local numbers = topic .. ':numbers'

-- the server's time, so that no two clocks are compared
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)

-- all digits: Lua's own way of writing a number keeps 14
local function digits(number)
  return string.format('%.0f', number)
end

-- Numbers grow strictly and follow the time in microseconds, so that a place in a line also tells since when.
local last = tonumber(redis.call('HGET', numbers, 'last') or '0')
local function following()
  last = math.max(last + 1, now_us)
  return digits(last)
end
local function keep_numbers()
  redis.call('HSET', numbers, 'last', digits(last))
end

local function jobs_of(lane)
  return topic .. ':jobs:' .. lane
end
local function line_of(lane, job)
  return topic .. ':line:' .. lane .. ':' .. job
end

-- `t/<task>/<job>/<lane>` or `k/<job>`; ticks share a lane of their own.
local function place_of(message)
  local job, lane = string.match(message, '^t/%x+/([%x%-]+)/(%x+)$')
  if job then
    return lane, job
  end
  return '-', string.sub(message, 3)
end

local function is_tick(message)
  return string.sub(message, 1, 2) == 'k/'
end

-- Puts a message at the end of its job's line. Job and project take a turn where they had none; doing so each time, and not
-- only for a line that was empty, means that no line is ever left without one.
local function join_line(message)
  local lane, job = place_of(message)
  local added = redis.call('ZADD', line_of(lane, job), 'NX', following(), message)
  redis.call('ZADD', jobs_of(lane), 'NX', following(), job)
  redis.call('ZADD', lanes, 'NX', following(), lane)
  if added > 0 then
    redis.call('HINCRBY', numbers, 'waiting', 1)
  end
end

-- Counts the messages in all lines, and finds the oldest's number.
local function count_waiting()
  local total, oldest = 0, nil
  for _, lane in ipairs(redis.call('ZRANGE', lanes, 0, -1)) do
    for _, job in ipairs(redis.call('ZRANGE', jobs_of(lane), 0, -1)) do
      local line = line_of(lane, job)
      total = total + redis.call('ZCARD', line)
      local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
      if first[2] then
        oldest = math.min(oldest or math.huge, tonumber(first[2]))
      end
    end
  end
  redis.call('HSET', numbers, 'waiting', total)
  return total, oldest
end

-- Calls a stream command that needs the group; nil where there is no group, as after a flush.
local function in_group(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    if string.find(reply.err, 'NOGROUP', 1, true) then
      return nil
    end
    error(reply.err)
  end
  return reply or {}
end

-- The group's record of an entry: { entry, consumer, idle ms, deliveries }.
local function pending(id)
  local rows = in_group('XPENDING', stream, GROUP, id, id, 1)
  return rows and rows[1]
end

-- Whether a delivery is still its consumer's: nobody else has the entry by now, nor the same consumer once more.
local function is_held(id, consumer, count)
  local row = pending(id)
  return row and row[2] == consumer and row[4] == tonumber(count)
end

-- The entry of a message that is under way. A record that the group does not confirm is dropped here, so that none hides
-- work for ever.
local function entry_of(message)
  local id = redis.call('HGET', entries, message)
  if not id then
    return nil
  end
  if redis.call('ZSCORE', leases, id) or pending(id) then
    return id
  end
  redis.call('XDEL', stream, id)
  redis.call('HDEL', entries, message)
  return nil
end

-- Takes an entry out for good.
local function remove(id, message)
  redis.call('XACK', stream, GROUP, id)
  redis.call('XDEL', stream, id)
  redis.call('ZREM', leases, id)
  if redis.call('HGET', entries, message) == id then
    redis.call('HDEL', entries, message)
  end
end

-- Wakes those who wait for this topic, in all processes.
local function ring()
  redis.call('PUBLISH', topic .. ':bell', '')
end
