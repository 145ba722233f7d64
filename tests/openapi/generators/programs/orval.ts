import {
  accountServiceLogin,
  accountServiceRegister,
  eventStoreServiceAppend,
  eventStoreServiceReadByStream,
  latticeServiceCreateLattice,
  latticeServiceFindPath,
} from "../generated/orval.js";
import type { RecordedEventLine } from "../generated/orval.js";
import { lines } from "./lines.js";

const who = { email: "orval@girih.test", password: "a strapwork of stars" };

const registered = await accountServiceRegister({ ...who, name: "Ada" });
if (registered.status !== 201) throw new Error(registered.data.error.message);
const session = await accountServiceLogin(who);
if (session.status !== 200) throw new Error(session.data.error.message);
const signedIn = { headers: { authorization: `Bearer ${session.data.access_token}` } };

const lattice = await latticeServiceCreateLattice({ dimensions: 3, size: 10 }, signedIn);
if (lattice.status !== 201) throw new Error(lattice.data.error.message);
const found = await latticeServiceFindPath(
  lattice.data.latticeId,
  { start: { coordinates: [0, 0, 0] }, goal: { coordinates: [9, 9, 9] } },
  signedIn,
);
if (found.status !== 200) throw new Error(found.data.error.message);

for (const type of ["submitted", "approved"]) {
  const events = [{ stream: "permit-1", type, json: { by: "Ada" } }];
  const appended = await eventStoreServiceAppend({ events }, signedIn);
  if (appended.status !== 200) throw new Error(appended.data.error.message);
}
const read = await eventStoreServiceReadByStream("permit-1", undefined, signedIn);
if (!("stream" in read) || read.status !== 200 || !read.stream.body) throw new Error("nothing to read");
const types: string[] = [];
for await (const line of lines<RecordedEventLine>(read.stream.body)) {
  if ("error" in line) throw new Error(line.error.message);
  types.push(line.event.type);
}

console.log(JSON.stringify({ length: found.data.path?.length, types }));
