// Says what runs it, and waits for SIGTERM.
console.log(`node spider on ${process.version}`);
const alive = setInterval(() => {}, 60_000);
process.on('SIGTERM', () => {
  console.log('node spider: asked to stop');
  clearInterval(alive);
});
