// What the pages read of an OpenAPI document, of /docs/reference.json and of the gateway's answers.
// For the type check alone.

export interface Reference {
  $ref?: string;
}

export interface Schema extends Reference {
  type?: string | string[];
  format?: string;
  pattern?: string;
  minimum?: number;
  const?: unknown;
  example?: unknown;
  examples?: unknown[];
  description?: string;
  contentEncoding?: string;
  enum?: string[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  anyOf?: Schema[];
  allOf?: (Reference & { oneOf?: { required?: string[] }[] })[];
}

export interface Media {
  schema: Schema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

export type Content = Record<string, Media>;

export interface Parameter extends Reference {
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema: Schema;
  example?: string;
}

export interface Answer extends Reference {
  description: string;
  content?: Content;
}

export type Security = Record<string, string[]>;

export interface Operation {
  operationId: string;
  summary?: string;
  description?: string;
  tags: string[];
  security?: Security[];
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, Answer>;
}

export type PathItem = Record<string, Operation | undefined> & { parameters?: Parameter[] };

export interface Document {
  info: { version: string; description: string };
  tags: { name: string; description: string }[];
  security?: Security[];
  paths: Record<string, PathItem>;
}

export interface Route extends Operation {
  path: string;
  method: string;
  parameters: Parameter[];
}

export interface Tag {
  name: string;
  description: string;
  routes: Route[];
}

export interface Health {
  status: string;
  parts: Record<string, { status: string }>;
}


export interface ContractReason {
  name: string;
  code: string;
  http_status: number;
  status: string;
  retry: string;
  meaning: string;
  remedy: string;
}

export interface ContractError {
  code: string;
  reasons: string[];
  text: string;
}

export interface ContractRpc {
  name: string;
  description: string;
  request: string;
  response: string;
  client_streaming: boolean;
  server_streaming: boolean;
  scope: string;
  routes: string[];
  example: unknown;
  errors: ContractError[];
}

export interface ContractField {
  name: string;
  number: number;
  type: string;
  of: string;
  choice: string[];
  must: string;
  description: string;
}

export interface ContractType {
  name: string;
  description: string;
  fields?: ContractField[];
  values?: { name: string; number: number; description: string }[];
}

export interface ContractPackage {
  name: string;
  description: string;
  errors: ContractError[];
  services: { name: string; description: string; rpcs: ContractRpc[] }[];
  types: ContractType[];
}

export interface Contract {
  packages: ContractPackage[];
  reasons: ContractReason[];
}
