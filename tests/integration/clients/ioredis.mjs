// ioredis, unchanged, with and without pipelining.  usage: node ioredis.mjs URL
import assert from 'node:assert';
import Redis from 'ioredis';

const client = new Redis(process.argv[2]);
const id = 'ioredis';
const beat = (sequence) =>
  JSON.stringify({ agentId: id, agentType: 'test', timestamp: Date.now(), sequence, status: 'healthy' });

await client.hset(`agent:${id}`, { registeredAt: Date.now(), type: 'test', host: 'h', pid: 1, status: 'starting' });
assert.equal(await client.publish('heartbeats', beat(1)), 1);
const answers = await client.pipeline().publish('heartbeats', beat(2)).hset(`agent:${id}`, 'sequence', 2).hget(`agent:${id}`, 'sequence').exec();
assert.deepEqual(answers, [[null, 1], [null, 1], [null, '2']]);
const both = await client.multi().publish('heartbeats', beat(3)).expire(`agent:${id}`, 60).exec();
assert.deepEqual(both, [[null, 1], [null, 1]]);
const listener = client.duplicate();
await listener.subscribe('heartbeats');
const heard = new Promise((resolve) => listener.on('message', (channel, text) => resolve(text)));
assert.equal(await client.publish('heartbeats', beat(4)), 2);
assert.equal(JSON.parse(await heard).sequence, 4);
await client.hset(`agent:${id}`, { status: 'stopped', stoppedAt: Date.now() + 1 });
listener.disconnect();
await client.quit();
