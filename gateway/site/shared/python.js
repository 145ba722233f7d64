// Routes as calls of `girih.client`, by the operation's id.

/** @typedef {{ values: Record<string, any>, lines: Record<string, any>[] }} Arguments What parameters and the body say by name, and each line of the body. */

const READ = { stream: "stream", fromPosition: "from_position", fromRevision: "from_revision", limit: "limit", incarnation: "incarnation" };

/**
 * What follows `with Client(...) as girih:`, and null where the client does not have it.
 * @type {Record<string, (given: Arguments) => string[] | null>}
 */
const CALLS = {
  EventStoreService_Append: ({ values }) => append("girih.append", values),
  EventStoreService_Read: ({ values }) => read(values),
  EventStoreService_ReadByStream: ({ values: { streamName, ...values } }) => read({ stream: streamName, ...values }),
  EventStoreService_GetStream: ({ values }) => [`print(girih.get_stream(${literal(values.streamName)}))`],
  EventStoreService_ListStreams: ({ values: { prefix } }) => [
    `for stream in girih.streams(${prefix ? literal(prefix) : ""}):`,
    "    print(stream.stream, stream.last_revision)",
  ],
  EventStoreService_ReadTrace: ({ values: { correlationId } }) => [
    `for traced in girih.trace(${literal(correlationId)}):`,
    "    print(traced.event.position, traced.event.type, traced.cause)",
  ],
  EventStoreService_GetLog: () => ["print(girih.log())"],
  LatticeService_CreateLattice: ({ values }) => createLattice(values),
  LatticeService_ListLattices: () => ["for lattice in girih.lattices.list():", "    print(lattice.id, lattice.shape)"],
  LatticeService_GetLattice: ({ values }) => [`print(girih.lattices.get(${literal(values.latticeId)}))`],
  LatticeService_DeleteLattice: ({ values }) => [`girih.lattices.delete(${literal(values.latticeId)})`],
  LatticeService_ReadBlocked: ({ values }) => [`print(girih.lattices.blocked(${literal(values.latticeId)}))`],
  LatticeService_FindPath: ({ values: { latticeId, start, goal } }) =>
    start && goal ? [`path = girih.lattices.find_path(${literal(latticeId)}, ${site(start)}, ${site(goal)})`, "print(path)"] : null,
  LatticeService_FindPaths: ({ values }) => findPaths(values),
  LatticeService_Distances: ({ values }) => distances(values),
};

/**
 * The program, or null where the client has no such call.
 * @param {string} operationId
 * @param {Arguments} given
 */
export function clientProgram(operationId, given) {
  if (operationId === "EventStoreService_AppendStream") return appendStream(given);
  const calls = CALLS[operationId]?.(given);
  if (!calls) return null;
  const names = ["Client", "NewEvent", "NoMatch", "Precondition", "Query"].filter((name) => name === "Client" || calls.some((line) => line.includes(`${name}.`) || line.includes(`${name}(`)));
  return [
    `from girih.client import ${names.join(", ")}`,
    "",
    `with Client(${literal(location.origin)}) as girih:`,
    ...calls.map((line) => `    ${line}`),
  ].join("\n");
}

/** @param {Arguments} given */
function appendStream({ lines }) {
  const calls = lines.map((values) => append("appends.begin", values, "outcomes.append(await ", ")"));
  if (!calls.length || calls.includes(null)) return null;
  const names = ["AsyncClient", "NewEvent", "NoMatch", "Precondition", "Query"].filter((name) => name === "AsyncClient" || calls.flat().some((line) => line?.includes(`${name}.`) || line?.includes(`${name}(`)));
  return [
    "import asyncio",
    "",
    `from girih.client import ${names.join(", ")}`,
    "",
    "",
    "async def main() -> None:",
    `    async with AsyncClient(${literal(location.origin)}) as girih, girih.append_stream() as appends:`,
    "        outcomes = []",
    ...calls.flat().map((line) => `        ${line}`),
    "        for outcome in outcomes:",
    "            print(await outcome)",
    "",
    "",
    "asyncio.run(main())",
  ].join("\n");
}

/**
 * @param {string} method
 * @param {Record<string, any>} values
 * @param {string} before
 * @param {string} after
 */
function append(method, { events, preconditions }, before = "print(", after = ")") {
  if (!Array.isArray(events) || !events.length || events.some((event) => "binary" in event)) return null;
  const made = events.map((event) => `        ${newEvent(event)},`);
  const expected = (preconditions ?? []).map((/** @type {any} */ one) => `        ${precondition(one)},`);
  const conditions = expected.length ? ["    [", ...expected, "    ],"] : [];
  return [`${before}${method}(`, "    [", ...made, "    ],", ...conditions, `)${after}`];
}

/** @param {Record<string, any>} event */
function newEvent({ stream, type, json, id, tags, metadata, schemaVersion }) {
  const others = [
    ...(id ? [`id=${literal(id)}`] : []),
    ...(schemaVersion ? [`schema_version=${literal(schemaVersion)}`] : []),
    ...(tags?.length ? [`tags=${tuple(tags.map(literal))}`] : []),
    ...(metadata && Object.keys(metadata).length ? [`metadata=${literal(metadata)}`] : []),
  ];
  const fields = [literal(stream), literal(type), ...(json === undefined ? [] : [literal(json)]), ...others];
  return `NewEvent${json === undefined ? "" : ".with_data"}(${fields.join(", ")})`;
}

/** @param {Record<string, any>} expected */
function precondition({ stream, revision, state, noMatch }) {
  if (noMatch) {
    const after = noMatch.afterPosition === undefined ? [] : [`after=${number(noMatch.afterPosition)}`];
    return `NoMatch(${[`[${(noMatch.filter?.queries ?? []).map(query).join(", ")}]`, ...after].join(", ")})`;
  }
  if (revision !== undefined) return `Precondition.at(${literal(stream)}, ${number(revision)})`;
  return `Precondition.${state === "STATE_ABSENT" ? "absent" : "exists"}(${literal(stream)})`;
}

/** @param {Record<string, any>} parts */
function query({ types, tags, streamPrefix, category, correlationId }) {
  const given = [
    ...(types?.length ? [`types=${tuple(types.map(literal))}`] : []),
    ...(tags?.length ? [`tags=${tuple(tags.map(literal))}`] : []),
    ...(streamPrefix ? [`stream_prefix=${literal(streamPrefix)}`] : []),
    ...(category ? [`category=${literal(category)}`] : []),
    ...(correlationId ? [`correlation_id=${literal(correlationId)}`] : []),
  ];
  return `Query(${given.join(", ")})`;
}

/** @param {Record<string, any>} values */
function read(values) {
  const given = Object.entries(READ).filter(([name]) => values[name]);
  const own = given.map(([name, argument]) => {
    const value = name === "stream" || name === "incarnation" ? literal(values[name]) : number(values[name]);
    return name === "stream" ? value : `${argument}=${value}`;
  });
  const isFollowed = values.follow === "true";
  if (values.direction === "DIRECTION_BACKWARDS") own.push("backwards=True");
  return [`for event in girih.${isFollowed ? "follow" : "read"}(${own.join(", ")}):`, "    print(event.position, event.type, event.data)"];
}

/** @param {Record<string, any>} values */
function createLattice({ shape, dimensions, size, boundaries, neighbourhood, cornerRule, blocked }) {
  const sizes = Array.isArray(shape) && shape.length ? shape.map(number) : Array(Math.min(dimensions || 0, 10)).fill(number(size));
  if (!sizes.length || blocked) return null;
  const short = (/** @type {string} */ value) => literal(String(value).replace(/^(BOUNDARY|NEIGHBOURHOOD|CORNER_RULE)_/, "").toLowerCase());
  const others = [
    ...(boundaries?.length ? [`boundaries=[${boundaries.map(short).join(", ")}]`] : []),
    ...(neighbourhood ? [`neighbourhood=${short(neighbourhood)}`] : []),
    ...(cornerRule ? [`corner_rule=${short(cornerRule)}`] : []),
  ];
  return [`lattice = girih.lattices.create(${[tuple(sizes), ...others].join(", ")})`, "print(lattice.id)"];
}

/** @param {Record<string, any>} values */
function findPaths({ latticeId, queries }) {
  if (!Array.isArray(queries)) return null;
  const pairs = queries.map(({ start, goal }) => `    (${site(start)}, ${site(goal)}),`);
  return ["pairs = [", ...pairs, "]", `for path in girih.lattices.find_paths(${literal(latticeId)}, pairs):`, "    print(path)"];
}

/** @param {Record<string, any>} values */
function distances({ latticeId, sources, targets, region }) {
  if (!Array.isArray(sources) || region) return null;
  const sites = (/** @type {any[]} */ list) => `[${list.map(site).join(", ")}]`;
  const aims = targets?.length ? `, targets=${sites(targets)}` : "";
  return [`print(girih.lattices.distances(${literal(latticeId)}, ${sites(sources)}${aims}))`];
}

/** @param {any} value */
function site(value) {
  return tuple((value?.coordinates ?? []).map(number));
}

/** @param {string[]} items */
function tuple(items) {
  return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
}

/**
 * A number that came as text; what is none stands there as text, and shows.
 * @param {unknown} value
 */
function number(value) {
  return /^-?\d+$/.test(String(value)) ? String(value) : literal(value);
}

/**
 * @param {any} value
 * @returns {string}
 */
function literal(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, inner]) => `${literal(key)}: ${literal(inner)}`).join(", ")}}`;
  return JSON.stringify(value);
}
