import createClient from "openapi-fetch";

import type { components, paths } from "../generated/openapi-typescript.js";
import { lines } from "./lines.js";

type Line = components["schemas"]["RecordedEventLine"];

const url = process.env.GIRIH_URL;
const who = { email: "openapi-typescript@girih.test", password: "a strapwork of stars" };

const guest = createClient<paths>({ baseUrl: url });
const registered = await guest.POST("/auth/register", { body: { ...who, name: "Ada" } });
if (registered.error) throw new Error(registered.error.error.message);
const session = await guest.POST("/auth/login", { body: who });
if (session.error) throw new Error(session.error.error.message);

const headers = { authorization: `Bearer ${session.data.access_token}` };
const girih = createClient<paths>({ baseUrl: url, headers });
const lattice = await girih.POST("/v1/lattices", { body: { dimensions: 3, size: 10 } });
if (lattice.error) throw new Error(lattice.error.error.message);
const found = await girih.POST("/v1/lattices/{latticeId}:findPath", {
  params: { path: { latticeId: lattice.data.latticeId } },
  body: { start: { coordinates: [0, 0, 0] }, goal: { coordinates: [9, 9, 9] } },
});
if (found.error) throw new Error(found.error.error.message);

for (const type of ["submitted", "approved"]) {
  const body = { events: [{ stream: "permit-1", type, json: { by: "Ada" } }] };
  const appended = await girih.POST("/v1/events:append", { body });
  if (appended.error) throw new Error(appended.error.error.message);
}
const read = await girih.GET("/v1/streams/{streamName}/events", {
  params: { path: { streamName: "permit-1" } },
  parseAs: "stream",
});
if (read.error || !read.data) throw new Error("nothing to read");
const types: string[] = [];
for await (const line of lines<Line>(read.data)) {
  if ("error" in line) throw new Error(line.error.message);
  types.push(line.event.type);
}

console.log(JSON.stringify({ length: found.data.path?.length, types }));
