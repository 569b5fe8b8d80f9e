// Adds to each request of the suite, which speaks to servers without a token only, the header with ours.
import { Agent, setGlobalDispatcher } from "undici";

const pairs = (headers) => {
  if (!headers) return [];
  if (Array.isArray(headers)) return headers;
  const entries = typeof headers[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers);
  return entries.flat();
};

const authorization = `Bearer ${process.env.MCP_TOKEN}`;
const withToken = (dispatch) => (request, handler) =>
  dispatch({ ...request, headers: [...pairs(request.headers), "authorization", authorization] }, handler);

setGlobalDispatcher(new Agent().compose(withToken));
