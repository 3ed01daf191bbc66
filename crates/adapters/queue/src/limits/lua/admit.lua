-- KEYS: slots (slot -> when its lease ends, ms), levels (how full the buckets are, and when that was).
-- ARGV: lease ms, most slots (0: any), ms to wait for a slot, requests a ms (0: any), their bucket, tokens a ms (0: any), their
-- bucket, tokens of this call. Returns { ms to wait, slot }: a wait of 0 is a grant. All or nothing is taken.
local slots, levels = KEYS[1], KEYS[2]
local lease, most, poll = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000

redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
local wait = 0
if most > 0 and redis.call('ZCARD', slots) >= most then
  wait = poll
end

-- The bucket's level once `amount` is in; makes the caller wait where it does not fit.
local function fill(name, rate, size, amount)
  local found = redis.call('HMGET', levels, name, name .. '_at')
  local level, at = tonumber(found[1] or '0'), tonumber(found[2] or now)
  level = math.max(0, level - math.max(0, now - at) * rate) + amount
  if level > size then
    wait = math.max(wait, math.ceil((level - size) / rate))
  end
  return level
end

local requests, tokens
if tonumber(ARGV[4]) > 0 then
  requests = fill('requests', tonumber(ARGV[4]), tonumber(ARGV[5]), 1)
end
if tonumber(ARGV[6]) > 0 then
  local size = tonumber(ARGV[7])
  tokens = fill('tokens', tonumber(ARGV[6]), size, math.min(size, tonumber(ARGV[8])))
end
if wait > 0 then
  return { wait, '' }
end

local function exact(number)
  return string.format('%.17g', number)
end
if requests then
  redis.call('HSET', levels, 'requests', exact(requests), 'requests_at', exact(now))
end
if tokens then
  redis.call('HSET', levels, 'tokens', exact(tokens), 'tokens_at', exact(now))
end
-- with the time in it no slot of before a flush is taken for one of after
local slot = time[1] .. '-' .. time[2] .. '-' .. redis.call('HINCRBY', levels, 'granted', 1)
redis.call('ZADD', slots, exact(now + lease), slot)
-- providers that nobody calls leave nothing behind
local keep = math.ceil(lease) + 600000
redis.call('PEXPIRE', slots, keep)
redis.call('PEXPIRE', levels, keep)
return { 0, slot }
