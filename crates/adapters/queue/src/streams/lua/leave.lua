-- ARGV: consumer. Removes its name, unless it still holds something: deleting it then would drop what it holds.
local rows = in_group('XPENDING', stream, GROUP, '-', '+', 1, ARGV[1])
if rows and #rows == 0 then
  redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, ARGV[1])
  return 1
end
return 0
