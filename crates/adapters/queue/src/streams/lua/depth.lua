-- Returns { waiting, delayed, delivered, ms that the oldest waiting message waits }.
local total, oldest = count_waiting()
local age = oldest and math.max(0, math.floor((now_us - oldest) / 1000)) or 0
return { total, redis.call('ZCARD', delayed), redis.call('ZCARD', leases), age }
