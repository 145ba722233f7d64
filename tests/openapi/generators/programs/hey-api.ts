import {
  accountServiceLogin,
  accountServiceRegister,
  eventStoreServiceAppend,
  eventStoreServiceReadByStream,
  latticeServiceCreateLattice,
  latticeServiceFindPath,
} from "../generated/hey-api/index.js";
import { client } from "../generated/hey-api/client.gen.js";
import type { RecordedEventLine } from "../generated/hey-api/index.js";
import { lines } from "./lines.js";

const who = { email: "hey-api@girih.test", password: "a strapwork of stars" };

client.setConfig({ baseUrl: process.env.GIRIH_URL, throwOnError: true });
await accountServiceRegister({ body: { ...who, name: "Ada" }, throwOnError: true });
const session = await accountServiceLogin({ body: who, throwOnError: true });
const token = session.data.access_token;
// Streams take a ticket in their URL as well, for browsers: this is none.
client.setConfig({ auth: ({ scheme }) => (scheme === "bearer" ? token : undefined) });

const lattice = await latticeServiceCreateLattice({
  body: { dimensions: 3, size: 10 },
  throwOnError: true,
});
const found = await latticeServiceFindPath({
  path: { latticeId: lattice.data.latticeId },
  body: { start: { coordinates: [0, 0, 0] }, goal: { coordinates: [9, 9, 9] } },
  throwOnError: true,
});

for (const type of ["submitted", "approved"]) {
  const events = [{ stream: "permit-1", type, json: { by: "Ada" } }];
  await eventStoreServiceAppend({ body: { events }, throwOnError: true });
}
const read = await eventStoreServiceReadByStream({
  path: { streamName: "permit-1" },
  parseAs: "stream",
  throwOnError: true,
});
if (!read.response?.body) throw new Error("nothing to read");
const types: string[] = [];
for await (const line of lines<RecordedEventLine>(read.response.body)) {
  if ("error" in line) throw new Error(line.error.message);
  types.push(line.event.type);
}

console.log(JSON.stringify({ length: found.data.path?.length, types }));
