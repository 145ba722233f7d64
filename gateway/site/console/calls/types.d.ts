// What the console reads of answers. For the type check alone.

export interface ErrorBody {
  code: string;
  message: string;
  correlation_id?: string;
  details?: { reason?: string; metadata?: Record<string, string>; violations?: { field: string; description: string }[]; retryAfterS?: number };
}

export interface Health {
  status: string;
  parts: Record<string, { status: string; latencyMs: number }>;
}

export interface Plan {
  name: string;
  latticeCountMax?: number;
  axisCountMax?: number;
  extentMax?: string;
  monthlyCallCountMax?: string;
  schemaCountMax?: number;
  groupCountMax?: number;
  jobCountMax?: number;
}

export interface Identity {
  user?: { userId: string; email: string; name: string; createdAt: string };
  key?: { keyId: string; name: string };
  tenant: { tenantId: string; name: string; plan: Plan };
  role: string;
  scopes: string[];
}

export interface Recorded {
  position: string;
  revision: string;
  recordedAt: string;
  context: { correlationId: string; causationId: string; actor: string };
  event: {
    id: string;
    stream: string;
    type: string;
    schemaVersion: number;
    json?: unknown;
    binary?: string;
    contentType: string;
    metadata: Record<string, string>;
    tags: string[];
  };
  gone?: { reason: string; at: string; actor: string; position: string };
}

export interface FilterQuery {
  types?: string[];
  tags?: string[];
  streamPrefix?: string;
  category?: string;
  correlationId?: string;
}

export interface StreamInfo {
  stream: string;
  lastRevision: string;
  firstRevision: string;
  firstPosition: string;
  lastPosition: string;
  eventCount: string;
  createdAt: string;
  updatedAt: string;
  ending?: string;
  metadata?: unknown;
  metadataVersion?: string;
  retention?: { maxAgeS?: string; maxCount?: string; truncateBefore?: string };
}

export interface Lattice {
  latticeId: string;
  shape: string[];
  boundaries: string[];
  neighbourhood: string;
  cornerRule: string;
  vertices: string;
  edges: string;
  blockedSites: string;
  bytesHeld: string;
  bytesAsGraph: string;
  bytesAsMatrix: string;
  createdAt: string;
}

export interface Computation {
  method: string;
  exact: boolean;
  elapsedNs: string;
  sitesExpanded: string;
  memoryBytes: string;
}

export interface FoundPath {
  found: boolean;
  length: number;
  steps: string;
  runs: { step: number[]; count: string }[];
}

export interface Field {
  name: string;
  numberType: string;
  shape: string[];
  sizeBytes: string;
  digest: string;
  writtenAt: string;
}
