// The event stream, by fetch: an EventSource cannot show a token.

import { credentials } from "./login.js";

/** Silence after which a stream counts as broken, in ms; the daemon says something more often. */
const SILENCE_MS = 40000;

/** Calls `told` for each message after event `after`, until the stream ends; then it resolves. */
export async function listen(after, { opened, told }) {
  const broken = new AbortController();
  let silence = null;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => broken.abort(), SILENCE_MS);
  };
  try {
    heard();
    const response = await fetch(`/v1/events?after=${after}`, {
      headers: { accept: "text/event-stream", ...credentials() },
      cache: "no-store",
      signal: broken.signal,
    });
    if (!response.ok) return;
    opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      // A message ends with an empty line; lines that begin with a colon only keep the stream alive.
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      if (messages.some((message) => /^data:/m.test(message))) told();
    }
  } catch {
    // How a stream breaks off does not matter: it is asked for again.
  } finally {
    clearTimeout(silence);
    broken.abort();
  }
}
