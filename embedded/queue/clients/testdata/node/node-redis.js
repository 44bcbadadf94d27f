// node-redis' everyday calls. Arguments: the URL, and yes where scripts are served.
const assert = require("node:assert/strict");
const { createClient, WatchError } = require("redis");

const [url, scripts] = process.argv.slice(2);

async function connect(options) {
  const client = createClient({ url, socket: { reconnectStrategy: false }, ...options });
  client.on("error", (error) => console.error(error));
  return client.connect();
}

async function calls(options) {
  const r = await connect(options);
  assert.equal(await r.set("k", "v", { EX: 100, NX: true }), "OK");
  assert.equal(await r.get("k"), "v");

  const waiting = await connect(options);
  const item = waiting.blPop("jobs", 5);
  assert.equal(await r.rPush("jobs", "job"), 1);
  assert.deepEqual({ ...(await item) }, { key: "jobs", element: "job" });

  assert.equal(await r.zAdd("z", [{ score: 1, value: "a" }, { score: 0.5, value: "b" }, { score: 2, value: "c" }]), 3);
  assert.deepEqual((await r.zPopMinCount("z", 2)).map((m) => ({ ...m })), [{ value: "b", score: 0.5 }, { value: "a", score: 1 }]);
  assert.deepEqual((await r.zRangeWithScores("z", 0, -1)).map((m) => ({ ...m })), [{ value: "c", score: 2 }]);
  assert.equal(await r.hSet("h", { x: 1, y: 2 }), 2);
  assert.deepEqual({ ...(await r.hGetAll("h")) }, { x: "1", y: "2" });
  assert.deepEqual(await r.multi().incr("n").incr("n").exec(), [1, 2]);

  await r.watch("n");
  await waiting.incr("n");
  await assert.rejects(r.multi().incr("n").exec(), WatchError);

  const listener = await connect(options);
  const message = new Promise((resolve) => listener.subscribe("news", resolve).then(() => r.publish("news", "hello")));
  assert.equal(await message, "hello");

  const found = [];
  for await (const keys of r.scanIterator({ COUNT: 2 })) found.push(...keys);
  assert.deepEqual([...new Set(found)].sort(), ["h", "k", "n", "z"]);

  const script = r.eval("return 1");
  if (scripts === "yes") assert.equal(await script, 1);
  else await assert.rejects(script, /EVAL is not served by crawlbox's embedded queue; /);
  await r.flushDb();
  await Promise.all([r.close(), waiting.close(), listener.close()]);
}

async function main() {
  for (const RESP of [2, 3]) await calls({ RESP });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
