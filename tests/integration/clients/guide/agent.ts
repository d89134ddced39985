// An agent around the guide's client.  usage: node agent.js URL AGENT_ID INTERVAL_MS
import { HeartbeatClient } from './client';

const [redisUrl, agentId, intervalMs] = process.argv.slice(2);
new HeartbeatClient({ redisUrl, agentId, agentType: 'guide', intervalMs: Number(intervalMs) }).connect();
