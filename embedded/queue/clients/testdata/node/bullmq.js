// A job of BullMQ. Arguments: host, port, password, and add or work.
const { Queue, Worker } = require("bullmq");

const [host, port, password, action] = process.argv.slice(2);
const connection = { host, port: +port, password };

if (action === "add") {
  const queue = new Queue("spiders", { connection });
  queue.add("crawl", { url: "http://host/" }).then((job) => {
    console.log("added", job.name);
    return queue.close();
  });
} else {
  const worker = new Worker("spiders", async (job) => console.log("ran", job.name), { connection });
  worker.once("error", (error) => {
    console.error(error.message);
    process.exit(1);
  });
}
