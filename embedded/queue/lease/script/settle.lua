-- Ends leases: an item that is not done goes back to where it was.
-- KEYS: held, holders, tries, died, then each key of the entries and its list of dead items.
-- ARGV: holder, how (done, back, or undo, which does not count as a delivery), after how many deliveries an item is
-- dead, then the entries, the newest first.
local held, tries, how, max = KEYS[1], KEYS[3], ARGV[2], tonumber(ARGV[3])
local dead = {}
for i = 5, #KEYS, 2 do dead[KEYS[i]] = KEYS[i + 1] end
local function failed(reply) return type(reply) == 'table' and reply.err end
local gone, died, stuck = 0, 0, {}
for i = 4, #ARGV do
  local entry = ARGV[i]
  if redis.call('LREM', held, -1, entry) == 1 then
    gone = gone + 1
    local kind, score, size, rest = string.match(entry, '^(.)[^:]*:([^:]*):(%d+):(.*)$')
    local key = kind and string.sub(rest, 1, tonumber(size))
    if how == 'done' and kind then
      redis.pcall('HDEL', tries, size .. ':' .. rest)
    elseif kind and dead[key] then
      local item, field, n, reply = string.sub(rest, tonumber(size) + 1), size .. ':' .. rest, 0
      if how == 'back' then
        n = redis.pcall('HINCRBY', tries, field, 1)
        if failed(n) then n = 1 end
      end
      if n < max then
        if kind == 'L' then reply = redis.pcall('LPUSH', key, item)
        elseif kind == 'R' then reply = redis.pcall('RPUSH', key, item)
        elseif kind == 'S' then reply = redis.pcall('SADD', key, item)
        else reply = redis.pcall('ZADD', key, 'NX', score, item) end
      end
      if n >= max or failed(reply) then
        if failed(redis.pcall('RPUSH', dead[key], item)) then
          table.insert(stuck, 1, entry)
        else
          died = died + 1
          redis.pcall('HSET', KEYS[4], field, kind .. score)
          redis.pcall('HDEL', tries, field)
        end
      end
    end
  end
end
for i = 1, #stuck do redis.call('RPUSH', held, stuck[i]) end
if redis.call('EXISTS', held) == 0 then redis.pcall('HDEL', KEYS[2], ARGV[1]) end
return {gone - #stuck, died, #stuck}
