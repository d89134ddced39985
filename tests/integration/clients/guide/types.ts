// The guide, step 1, as printed.
export interface HeartbeatMessage {
  agentId: string;
  agentType: string;
  timestamp: number;        // Unix timestamp (ms)
  sequence: number;         // Incrementing sequence number
  status: 'healthy' | 'degraded' | 'busy' | 'recovering';
  metrics: AgentMetrics;
  currentTask?: string;     // What the agent is working on
  taskProgress?: number;    // 0-100
}

export interface AgentMetrics {
  cpuPercent: number;
  memoryMB: number;
  activeTasks: number;
  queueDepth: number;
  tokensUsedThisHour: number;
  errorsLast5Min: number;
}
