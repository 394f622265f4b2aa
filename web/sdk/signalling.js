// HTTP towards the avatar server: requests whose failures are typed, and SDP offers that carry their candidates.

/** Longest wait for ICE candidates. Host candidates take milliseconds; a STUN server that is silent must not hold a call. */
const GATHERING_CAP_MS = 300;
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Everything that can go wrong between a page and the server.
 *
 * `code` is the server's own (`server_full`, `unknown_avatar`, ...) or one of `unreachable` (no answer), `not_a_server`
 * (an answer of another kind), `connection_lost`, `session_ended`, `no_media_path`, `closed`.
 */
export class AvatarError extends Error {
  /**
   * @param {string} code
   * @param {string} message for a person: what was wrong and what to do
   * @param {{status?: number, retryAfterS?: number | null, cause?: unknown}} [facts]
   */
  constructor(code, message, { status = 0, retryAfterS = null, cause } = {}) {
    super(message, { cause });
    this.name = "AvatarError";
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may succeed later without anybody changing anything. */
  get passing() {
    return this.status === 0 ? this.code !== "closed" : this.status >= 500 || this.status === 408 || this.status === 429;
  }
}

/**
 * Fetch, or throw an AvatarError.
 *
 * @param {URL | string} url
 * @param {{method?: string, json?: unknown, sdp?: string, form?: FormData, keepalive?: boolean, signal?: AbortSignal, timeoutMs?: number}} [what]
 * @returns {Promise<Response>} a response with a 2xx status
 * @throws {AvatarError} and the signal's reason where it was given up
 */
export async function request(url, { method = "GET", json, sdp, form, keepalive = false, signal, timeoutMs = REQUEST_TIMEOUT_MS } = {}) {
  signal?.throwIfAborted();
  const headers = {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (sdp !== undefined) headers["Content-Type"] = "application/sdp";
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      keepalive,
      body: sdp ?? form ?? (json === undefined ? undefined : JSON.stringify(json)),
      cache: "no-store",
      signal: keepalive ? undefined : AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
    });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new AvatarError("unreachable", "The server does not answer. Check that it is running and reachable.", { cause });
  }
  if (response.ok) return response;
  throw await refusal(response);
}

/** Like `request`, for answers in JSON. */
export async function requestJson(url, what) {
  const response = await request(url, what);
  try {
    return await response.json();
  } catch (cause) {
    throw new AvatarError("not_a_server", "The answer is not JSON: this address is not an avatar server.", {
      status: response.status,
      cause,
    });
  }
}

/** Translate a response with an error status. */
export async function refusal(response) {
  const { status } = response;
  const retryAfterS = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const facts = { status, retryAfterS: Number.isFinite(retryAfterS) ? retryAfterS : null };
  const body = await response.json().catch(() => null);
  if (typeof body?.error?.code === "string") return new AvatarError(body.error.code, String(body.error.message), facts);
  // A proxy in front of a server that restarts answers 502 to 504 without our JSON.
  if (status >= 500) return new AvatarError("unreachable", `The server is not ready (HTTP ${status}).`, facts);
  return new AvatarError("not_a_server", `HTTP ${status} without an error of an avatar server.`, facts);
}

/**
 * Make an offer, set it, and wait until its candidates are known, at most GATHERING_CAP_MS.
 *
 * @param {RTCPeerConnection} peer
 * @returns {Promise<string>} the SDP, with the candidates found so far
 */
export async function describe(peer) {
  await peer.setLocalDescription(await peer.createOffer());
  if (peer.iceGatheringState !== "complete") {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, GATHERING_CAP_MS);
      peer.addEventListener("icegatheringstatechange", () => {
        if (peer.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve();
      });
    });
  }
  return peer.localDescription.sdp;
}
