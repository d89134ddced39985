// node-redis, RESP2, unchanged: what the guide's client does, and a subscriber.  usage: node node_redis.mjs URL
import assert from 'node:assert';
import { createClient } from 'redis';

const client = createClient({ url: process.argv[2] });
await client.connect();
const id = 'node_redis';
const beat = (sequence) =>
  JSON.stringify({ agentId: id, agentType: 'test', timestamp: Date.now(), sequence, status: 'healthy' });

await client.hSet(`agent:${id}`, { registeredAt: Date.now().toString(), type: 'test', host: 'h', pid: '1', status: 'starting' });
assert.equal(await client.publish('heartbeats', beat(1)), 1);
const listener = client.duplicate();
await listener.connect();
const heard = new Promise((resolve) => listener.subscribe('heartbeats', resolve));
await new Promise((resolve) => setTimeout(resolve, 100));
assert.equal(await client.publish('heartbeats', beat(2)), 2);
assert.equal(JSON.parse(await heard).sequence, 2);
assert.deepEqual(await client.multi().publish('heartbeats', beat(3)).hSet(`agent:${id}`, 'sequence', '3').exec(), [2, 1]);
assert.equal((await client.hGetAll(`agent:${id}`)).sequence, '3');
await client.expire(`agent:${id}`, 120);
assert.ok((await client.ttl(`agent:${id}`)) > 100);
await client.hSet(`agent:${id}`, { status: 'stopped', stoppedAt: (Date.now() + 1).toString() });
await listener.quit();
await client.quit();
