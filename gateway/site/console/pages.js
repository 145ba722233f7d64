// Which pages there are: their addresses, where they stand in the menu, what a user must be allowed
// to see them, and the module that draws each, which is loaded when it is asked for.

/**
 * @typedef {{ title: string, group?: string, scope?: string, load: () => Promise<{ Page: (props: any) => any }>,
 *   pattern: string[] }} Page
 * A part of a pattern that begins with ":" stands for any, and is given to the page by that name.
 */

/** @type {Page[]} */
export const PAGES = [
  { pattern: [], title: "Overview", group: "", load: () => import("./system/overview.js") },
  { pattern: ["events"], title: "Log", group: "Events", scope: "events.read", load: () => import("./events/log_page.js") },
  { pattern: ["events", ":position"], title: "Event", scope: "events.read", load: () => import("./events/event_page.js") },
  { pattern: ["streams"], title: "Streams", group: "Events", scope: "events.read", load: () => import("./events/streams.js") },
  { pattern: ["streams", ":stream"], title: "Stream", scope: "events.read", load: () => import("./events/stream_page.js") },
  { pattern: ["traces"], title: "Traces", group: "Events", scope: "events.read", load: () => import("./events/trace.js") },
  { pattern: ["traces", ":correlationId"], title: "Trace", scope: "events.read", load: () => import("./events/trace.js") },
  { pattern: ["append"], title: "Append", group: "Events", scope: "events.append", load: () => import("./events/append.js") },
  { pattern: ["schemas"], title: "Schemas", group: "Events", scope: "events.read", load: () => import("./events/schemas.js") },
  { pattern: ["schemas", ":type"], title: "Schema", scope: "events.read", load: () => import("./events/schema_page.js") },
  { pattern: ["lattices"], title: "Lattices", group: "Lattices", scope: "lattices.read", load: () => import("./lattices/list.js") },
  { pattern: ["new-lattice"], title: "New lattice", group: "Lattices", scope: "lattices.write", load: () => import("./lattices/create.js") },
  { pattern: ["lattices", ":latticeId"], title: "Lattice", scope: "lattices.read", load: () => import("./lattices/viewer.js") },
  { pattern: ["lattices", ":latticeId", "simulate"], title: "Simulate", scope: "lattices.write", load: () => import("./jobs/start.js") },
  { pattern: ["lattices", ":latticeId", "fields", ":name"], title: "Field", scope: "lattices.read", load: () => import("./lattices/field_page.js") },
  { pattern: ["lattices", ":latticeId", "history"], title: "History", scope: "lattices.read", load: () => import("./lattices/history_page.js") },
  { pattern: ["jobs"], title: "Jobs", group: "Work", scope: "lattices.read", load: () => import("./jobs/list.js") },
  { pattern: ["jobs", ":jobId"], title: "Job", scope: "lattices.read", load: () => import("./jobs/job_page.js") },
  { pattern: ["groups"], title: "Consumer groups", group: "Work", scope: "groups.read", load: () => import("./consumers/groups.js") },
  { pattern: ["groups", ":group"], title: "Consumer group", scope: "groups.read", load: () => import("./consumers/group_page.js") },
  { pattern: ["projections"], title: "Projections", group: "Work", scope: "projections.read", load: () => import("./consumers/projections.js") },
  { pattern: ["projections", ":projection"], title: "Projection", scope: "projections.read", load: () => import("./consumers/projection_page.js") },
  { pattern: ["health"], title: "Health", group: "System", load: () => import("./system/health.js") },
  { pattern: ["usage"], title: "Usage", group: "System", scope: "usage.read", load: () => import("./system/usage.js") },
  { pattern: ["members"], title: "Members", group: "System", scope: "members.read", load: () => import("./system/members.js") },
  { pattern: ["keys"], title: "API keys", group: "System", scope: "keys.read", load: () => import("./system/keys.js") },
  { pattern: ["settings"], title: "Server settings", group: "System", scope: "settings.read", load: () => import("./system/settings.js") },
  { pattern: ["security"], title: "Sessions and security", group: "System", scope: "events.read", load: () => import("./system/security.js") },
];

/**
 * The page of a path, and what its pattern took from it.
 * @param {string[]} path
 * @returns {{ page: Page, taken: Record<string, string> } | undefined}
 */
export function pageOf(path) {
  for (const page of PAGES) {
    const isFit = page.pattern.length === path.length && page.pattern.every((part, index) => part.startsWith(":") || part === path[index]);
    if (isFit) return { page, taken: Object.fromEntries(page.pattern.map((part, index) => [part.slice(1), path[index]])) };
  }
  return undefined;
}
