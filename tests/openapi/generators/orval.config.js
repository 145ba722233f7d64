// Clients of orval call the URL that they were made with.
export default {
  girih: {
    input: process.env.OPENAPI,
    output: { target: "generated/orval.ts", client: "fetch", baseUrl: process.env.GIRIH_URL },
  },
};
