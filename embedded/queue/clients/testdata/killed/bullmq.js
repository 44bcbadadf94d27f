// Jobs of BullMQ. With an argument it asks for so many, else it does them.
const fs = require("fs");
const { Queue, Worker } = require("bullmq");

const url = new URL(process.env.QUEUE_URL);
const connection = { host: url.hostname, port: +url.port, password: url.password, maxRetriesPerRequest: null };
const record = (line) => fs.appendFileSync(process.env.RECORD, line + "\n");
const times = [5, 10, 10, 20, 50].map((ms) => ms * (process.env.SLOWER || 1));

if (process.argv[2]) {
  const queue = new Queue("spiders", { connection });
  const jobs = [...Array(+process.argv[2]).keys()].map((i) => ({ name: "crawl", data: { item: `item-${i}` } }));
  queue.addBulk(jobs).then(() => queue.close());
} else {
  const work = async (job) => {
    record(`begun ${job.data.item}`);
    await new Promise((done) => setTimeout(done, times[Math.floor(Math.random() * times.length)]));
    record(`done ${job.data.item}`);
  };
  // Its own leases are of 30 s by default. A test is short where they are.
  const lease = +(process.env.LEASE || 3000);
  const own = { lockDuration: lease, stalledInterval: lease, maxStalledCount: 1000 };
  const worker = new Worker("spiders", work, { connection, concurrency: 4, ...own });
  worker.on("error", () => {}); // it tries again
}
