-- Pops items and writes down who holds them.
-- KEYS: held, holders, tries, then the keys to look at, in order.
-- ARGV: holder, what is known of it, kind and stamp of the entries, window, command, count, shape of the reply and
-- version of the protocol, 1 or 0 for each key that is leased or not, mode.
local command, count, mode = ARGV[5], ARGV[6], ARGV[9]
local got, key, leased
for i = 4, #KEYS do
  got = redis.pcall(command, KEYS[i], count)
  if got and got.err then
    if mode ~= 'again' or string.sub(got.err, 1, 9) ~= 'WRONGTYPE' then return got end
  elseif got and #got > 0 then
    key, leased = KEYS[i], string.sub(ARGV[8], i - 3, i - 3) == '1'
    break
  end
end
if not key then return false end
local head = ARGV[3]
local step = string.sub(head, 1, 1) == 'Z' and 2 or 1
if leased then
  local held, entries, tail = KEYS[1], {}, ':' .. #key .. ':' .. key
  for i = 1, #got, step do
    entries[#entries + 1] = head .. ':' .. (step == 2 and got[i + 1] or '') .. tail .. got[i]
  end
  local n, have = #entries
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
  if have == n then redis.pcall('HSET', KEYS[2], ARGV[1], ARGV[2]) end
  local keep = tonumber(ARGV[4])
  if n > keep and mode ~= 'each' then keep = n end
  if have > keep then
    local done = redis.call('LPOP', held, have - keep)
    for i = 1, #done do done[i] = string.match(done[i], '^[^:]*:[^:]*:(.*)$') or '' end
    for i = 1, #done, 1000 do
      redis.pcall('HDEL', KEYS[3], unpack(done, i, math.min(i + 999, #done)))
    end
  end
end
local shape, v3 = string.sub(ARGV[7], 1, 1), string.sub(ARGV[7], 2) == '3'
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
