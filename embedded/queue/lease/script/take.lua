-- Pops items and writes down who holds them.
-- KEYS: held, holders, tries, then the keys to look at, in order.
-- ARGV: kind and stamp of the entries, command, count, window, options, what is known of the holder.
-- Options are one character each: shape of the reply, version of the protocol, w to pass over keys that hold something
-- else or x in a transaction, and for each key 1 or 0, whether it is leased.
local command, count, options = ARGV[2], ARGV[3], ARGV[5]
local id = string.match(KEYS[1], '^crawlbox:held:([^@~]+)')
if id and redis.call('EXISTS', 'crawlbox:leaving:' .. id) == 1 and string.sub(options, 3, 3) ~= 'x' then
  return {err = 'LEAVING the consumer is about to be ended'}
end
local got, key, leased
for i = 4, #KEYS do
  got = redis.pcall(command, KEYS[i], count)
  if got and got.err then
    if string.sub(options, 3, 3) ~= 'w' or string.sub(got.err, 1, 9) ~= 'WRONGTYPE' then return got end
  elseif got and #got > 0 then
    key, leased = KEYS[i], string.sub(options, i, i) == '1'
    break
  end
end
if not key then return false end
local step = string.sub(ARGV[1], 1, 1) == 'Z' and 2 or 1
if leased then
  local held, entries, n, have = KEYS[1], {}, #got / step
  if step == 2 then
    local head, tail = ARGV[1] .. ':', ':' .. #key .. ':' .. key
    for i = 1, n do entries[i] = head .. got[2 * i] .. tail .. got[2 * i - 1] end
  else
    local head = ARGV[1] .. '::' .. #key .. ':' .. key
    for i = 1, n do entries[i] = head .. got[i] end
  end
  for i = 1, n, 1000 do
    have = redis.pcall('RPUSH', held, unpack(entries, i, math.min(i + 999, n)))
    if type(have) == 'table' then
      for j = #got - step + 1, 1, -step do
        if step == 2 then redis.call('ZADD', key, got[j + 1], got[j])
        elseif command == 'SPOP' then redis.call('SADD', key, got[j])
        else redis.call(command == 'LPOP' and 'LPUSH' or 'RPUSH', key, got[j]) end
      end
      return have
    end
  end
  if have == n then redis.pcall('HSET', KEYS[2], string.sub(held, 15), ARGV[6]) end
  local keep = tonumber(ARGV[4])
  if n > keep then keep = n end
  -- Those that are done are taken away when they are some, or large.
  if have > keep + 32 or have > keep and #entries[n] > 1024 then
    if redis.call('EXISTS', KEYS[3]) == 1 then
      local done = redis.call('LPOP', held, have - keep)
      for i = 1, #done do done[i] = string.match(done[i], '^[^:]*:[^:]*:(.*)$') or '' end
      for i = 1, #done, 1000 do
        redis.pcall('HDEL', KEYS[3], unpack(done, i, math.min(i + 999, #done)))
      end
    else
      redis.call('LTRIM', held, -keep, -1)
    end
  end
end
local shape, v3 = string.sub(options, 1, 1), string.sub(options, 2, 2) == '3'
if shape == 'i' then return got[1] end
if shape == 'o' then return {ok = 'OK'} end
if shape == 'n' then return #got / step end
if step == 2 then
  if v3 then
    for i = 2, #got, 2 do got[i] = {double = tonumber(got[i])} end
  end
  if shape == 'k' then return {key, got[1], got[2]} end
  if shape ~= 'a' then
    local some = {}
    for i = 1, #got, 2 do some[#some + 1] = {got[i], got[i + 1]} end
    got = some
  end
end
if shape == 'k' then return {key, got[1]} end
if shape == 'm' then return {key, got} end
if shape == 's' and v3 then
  local set = {}
  for i = 1, #got do set[got[i]] = true end
  return {set = set}
end
return got
