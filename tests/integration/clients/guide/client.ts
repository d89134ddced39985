// The guide, step 2, with its calls as printed. What it leaves out to compile is declared at the end of the class:
// currentTask, activeTasks, queue, hourlyTokenUsage, recentErrors, getCPUUsage, and the type of the client.
import { createClient } from 'redis';
import { HeartbeatMessage, AgentMetrics } from './types';
import * as os from 'os';
import * as process from 'process';

export class HeartbeatClient {
  private redis: ReturnType<typeof createClient>;
  private agentId: string;
  private agentType: string;
  private intervalMs: number;
  private heartbeatTimer?: NodeJS.Timeout;
  private sequence = 0;
  private startTime = Date.now();

  constructor(config: {
    redisUrl: string;
    agentId: string;
    agentType: string;
    intervalMs?: number;
  }) {
    this.redis = createClient({ url: config.redisUrl });
    this.agentId = config.agentId;
    this.agentType = config.agentType;
    this.intervalMs = config.intervalMs || 30000;
  }

  async connect(): Promise<void> {
    await this.redis.connect();

    // Register agent on startup
    await this.redis.hSet(`agent:${this.agentId}`, {
      registeredAt: Date.now().toString(),
      type: this.agentType,
      host: os.hostname(),
      pid: process.pid.toString(),
      status: 'starting'
    });

    // Start heartbeat loop
    this.heartbeatTimer = setInterval(() => this.sendHeartbeat(), this.intervalMs);

    // Graceful shutdown
    process.on('SIGTERM', () => this.shutdown());
    process.on('SIGINT', () => this.shutdown());
  }

  private async sendHeartbeat(): Promise<void> {
    const metrics = await this.collectMetrics();

    const heartbeat: HeartbeatMessage = {
      agentId: this.agentId,
      agentType: this.agentType,
      timestamp: Date.now(),
      sequence: ++this.sequence,
      status: this.determineStatus(metrics),
      metrics,
      currentTask: this.currentTask
    };

    // Publish to Redis
    await this.redis.publish('heartbeats', JSON.stringify(heartbeat));

    // Also store in hash for queries
    await this.redis.hSet(`agent:${this.agentId}`, {
      lastHeartbeat: heartbeat.timestamp.toString(),
      sequence: heartbeat.sequence.toString(),
      status: heartbeat.status,
      cpuPercent: metrics.cpuPercent.toString(),
      memoryMB: metrics.memoryMB.toString()
    });

    // Set expiry, if agent dies, key auto-expires
    await this.redis.expire(`agent:${this.agentId}`, Math.floor(this.intervalMs * 4 / 1000));
  }

  private async collectMetrics(): Promise<AgentMetrics> {
    const usage = process.memoryUsage();

    return {
      cpuPercent: await this.getCPUUsage(),
      memoryMB: Math.round(usage.heapUsed / 1024 / 1024),
      activeTasks: this.activeTasks,
      queueDepth: this.queue.length,
      tokensUsedThisHour: this.hourlyTokenUsage,
      errorsLast5Min: this.recentErrors
    };
  }

  private determineStatus(metrics: AgentMetrics): HeartbeatMessage['status'] {
    if (metrics.errorsLast5Min > 10) return 'recovering';
    if (metrics.memoryMB > 1000) return 'degraded';
    if (metrics.queueDepth > 50) return 'busy';
    return 'healthy';
  }

  private async shutdown(): Promise<void> {
    console.log('Shutting down gracefully...');
    if (this.heartbeatTimer) clearInterval(this.heartbeatTimer);

    await this.redis.hSet(`agent:${this.agentId}`, {
      status: 'stopped',
      stoppedAt: Date.now().toString()
    });

    await this.redis.quit();
    process.exit(0);
  }

  // What the guide uses and does not print.
  private currentTask?: string = 'answering';
  private activeTasks = 1;
  private queue: unknown[] = [];
  private hourlyTokenUsage = 0;
  private recentErrors = 0;
  private lastCPU = process.cpuUsage();

  private async getCPUUsage(): Promise<number> {
    const used = process.cpuUsage(this.lastCPU);
    this.lastCPU = process.cpuUsage();
    return (used.user + used.system) / 10 / this.intervalMs;
  }
}
