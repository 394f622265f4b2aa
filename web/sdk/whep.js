// A viewer of a session by WHEP (draft-ietf-wish-whep): picture and sound in, nothing out, for as long as the page lives.
//
//   const viewer = new WhepViewer();
//   viewer.addEventListener("media", ({ detail }) => { video.srcObject = detail.stream; });
//   viewer.watch(sessionId);

import { BlendshapeFeed } from "./blendshapes.js";
import { Connection } from "./connection.js";
import { AvatarError, request, requestJson } from "./signalling.js";

export { AvatarError };

/**
 * Events: those of Connection. A session that does not exist, or no longer, is waited for like a server that is away. Where asked
 * for: `blendshapes` with detail Face (blendshapes.js), 25 a second, and `refused` with detail `{code, message}` where there are none.
 */
export class WhepViewer extends Connection {
  #sessionId = null;
  #blendshapes = new BlendshapeFeed((face) => this.emit("blendshapes", face));

  /** Ask for the face as blendshapes, before `watch`; or, at any time, for no more of them. */
  askForBlendshapes(on = true) {
    this.#blendshapes.ask(on);
  }

  /**
   * @param {string} sessionId
   * @returns {Promise<void>} see Connection.open
   */
  watch(sessionId) {
    this.#sessionId = sessionId;
    return this.open();
  }

  prepare(peer) {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    if (this.#blendshapes.wanted) this.#listen(peer.createDataChannel("control", { ordered: true }));
  }

  exchange(sdp) {
    return this.view(this.#sessionId, sdp);
  }

  /** Bring an offer to one session. */
  async view(sessionId, sdp) {
    const response = await request(this.urlOf(`whep/${encodeURIComponent(sessionId)}`), { method: "POST", sdp });
    const location = response.headers.get("Location");
    const release = () => {
      if (location) request(new URL(location, response.url), { method: "DELETE", keepalive: true }).catch(() => {});
    };
    return { sdp: await response.text(), release };
  }

  #listen(channel) {
    channel.addEventListener("open", () => this.#blendshapes.attach(channel));
    channel.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "error") this.emit("refused", { code: message.code, message: message.message });
      else this.#blendshapes.receive(message);
    });
  }

  passes(error) {
    return super.passes(error) || error.code === "unknown_session" || error.code === "session_closed";
  }
}

/** A viewer with a session of its own, without a microphone: the avatar idles. Each reconnect makes a new session. */
export class IdleViewer extends WhepViewer {
  #avatar = null;

  /**
   * @param {string | null} [avatar] the server's default where none is named
   * @returns {Promise<void>} see Connection.open
   */
  rest(avatar = null) {
    this.#avatar = avatar;
    return this.open();
  }

  async exchange(sdp) {
    const wish = this.#avatar === null ? {} : { avatar: this.#avatar };
    const session = await requestJson(this.urlOf("api/sessions"), { method: "POST", json: wish });
    const place = this.urlOf(`api/sessions/${encodeURIComponent(session.session_id)}`);
    const end = () => request(place, { method: "DELETE", keepalive: true }).catch(() => {});
    try {
      const answer = await this.view(session.session_id, sdp);
      return { ...answer, release: () => [answer.release, end].forEach((free) => free()) };
    } catch (error) {
      end();
      throw error;
    }
  }
}
