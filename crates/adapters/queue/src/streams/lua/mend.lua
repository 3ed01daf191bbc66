-- ARGV: ms after which a consumer that holds nothing counts as gone. Gives entries that lost their lease one that ends now, so
-- that they are delivered again, and removes the names of processes that died. Returns { entries, consumers }.
local from, found, gone = '-', 0, 0
repeat
  local rows = in_group('XPENDING', stream, GROUP, from, '+', 100)
  if not rows then
    return { 0, 0 }
  end
  for _, row in ipairs(rows) do
    if not redis.call('ZSCORE', leases, row[1]) then
      redis.call('ZADD', leases, now, row[1])
      found = found + 1
    end
    from = '(' .. row[1]
  end
until #rows < 100
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, GROUP)) do
  -- name, its value, pending, its value, idle, its value
  if consumer[4] == 0 and consumer[6] > tonumber(ARGV[1]) then
    redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, consumer[2])
    gone = gone + 1
  end
end
if found > 0 then
  ring()
end
return { found, gone }
