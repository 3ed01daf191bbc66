-- KEYS: slots, levels. ARGV: slot, tokens that were not used. Returns 1, or 0 where the slot was given back before, or ended.
-- Only the first gives tokens back.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local level = redis.call('HGET', KEYS[2], 'tokens')
if level then
  redis.call('HSET', KEYS[2], 'tokens', string.format('%.17g', math.max(0, tonumber(level) - tonumber(ARGV[2]))))
end
return 1
