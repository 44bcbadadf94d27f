-- Takes items out of a list of dead ones, and puts them at the end of their queue.
-- KEYS: key, its list of dead items, died. ARGV: retry or drop, then the items.
local key, dead, died = KEYS[1], KEYS[2], KEYS[3]
local moved, stuck = 0, 0
for i = 2, #ARGV do
  local item = ARGV[i]
  if redis.call('LREM', dead, 1, item) == 1 then
    local field, reply = #key .. ':' .. key .. item
    local was = redis.pcall('HGET', died, field)
    if type(was) ~= 'string' then was = nil end
    if ARGV[1] == 'retry' then
      local kind = was and string.sub(was, 1, 1)
      if not kind then kind = ({set = 'S', zset = 'Z'})[redis.call('TYPE', key).ok] or 'L' end
      if kind == 'L' then reply = redis.pcall('RPUSH', key, item)
      elseif kind == 'R' then reply = redis.pcall('LPUSH', key, item)
      elseif kind == 'S' then reply = redis.pcall('SADD', key, item)
      else reply = redis.pcall('ZADD', key, 'NX', was and string.sub(was, 2) or '0', item) end
    end
    if type(reply) == 'table' and reply.err then
      stuck = stuck + 1
      redis.call('RPUSH', dead, item)
    else
      moved = moved + 1
      redis.pcall('HDEL', died, field)
    end
  end
end
return {moved, stuck}
