// ioredis' everyday calls. Arguments: host, port, password, and yes where scripts are served.
const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");

const [host, port, password, scripts] = process.argv.slice(2);
const options = { host, port: +port, password, db: 3, maxRetriesPerRequest: 1 };

async function main() {
  const r = new Redis(options);
  assert.equal(await r.set("k", "v", "EX", 100, "NX"), "OK");
  assert.equal(await r.get("k"), "v");
  assert.equal(await r.incr("n"), 1);

  const waiting = new Redis(options);
  const item = waiting.blpop("jobs", 5);
  assert.equal(await r.rpush("jobs", "job"), 1);
  assert.deepEqual(await item, ["jobs", "job"]);

  assert.equal(await r.zadd("z", 1, "a", 0.5, "b"), 2);
  assert.equal(await r.zcard("z"), 2);
  assert.equal((await r.zpopmin("z", 2)).flat(2).length, 4);
  await r.hset("h", { x: 1, y: 2 });
  assert.deepEqual({ ...(await r.hgetall("h")) }, { x: "1", y: "2" });
  await r.sadd("s", "a", "b");
  assert.equal((await r.smembers("s")).length, 2);
  const results = await r.multi().incr("n").incr("n").exec();
  assert.deepEqual(results, [[null, 2], [null, 3]]);
  const piped = await r.pipeline().set("p", 1).get("p").exec();
  assert.deepEqual(piped[1], [null, "1"]);

  const listener = new Redis(options);
  await listener.subscribe("news");
  const message = once(listener, "message");
  assert.equal(await r.publish("news", "hello"), 1);
  assert.deepEqual(await message, ["news", "hello"]);

  const found = [];
  for await (const keys of r.scanStream({ match: "*", count: 2 })) found.push(...keys);
  assert.deepEqual([...new Set(found)].sort(), ["h", "k", "n", "p", "s"]);

  const script = r.eval("return 1", 0);
  if (scripts === "yes") assert.equal(await script, 1);
  else await assert.rejects(script, /EVAL is not served by crawlbox's embedded queue; /);
  await Promise.all([r.quit(), waiting.quit(), listener.quit()]);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
