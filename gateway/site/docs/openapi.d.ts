// What the page reads of an OpenAPI document and of the gateway's answers. For the type check alone.

export interface Reference {
  $ref?: string;
}

export interface Schema extends Reference {
  type?: string;
  format?: string;
  description?: string;
  contentEncoding?: string;
  enum?: string[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  anyOf?: Schema[];
  allOf?: { oneOf: { required?: string[] }[] }[];
}

export interface Media {
  schema: Schema;
  example?: unknown;
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

export interface Tokens {
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  user?: { name?: string };
}
