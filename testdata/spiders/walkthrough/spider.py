import time
import redis

client = redis.Redis(host='MASTER', port='7891', password='PASSWORD')

while True:
    data = client.lpop('example:swarm:spider')
    if not data:
        break
    print(f'got: {data.decode()}')
    time.sleep(10)
