// Beside viser's own page: the address bar keeps the state, and a lost server is told.
(() => {
  "use strict";
  const EVERY = 1000; // [ms]
  const PATIENCE = 2; // answers that may be missing in a row
  let missing = 0;

  // A path without a final slash would make every relative address wrong.
  if (!location.pathname.endsWith("/")) {
    location.replace(location.pathname + "/" + location.search);
    return;
  }

  // Shadows are most of the work of a browser that draws in software. Who wants them turns them on.
  function drawsInSoftware() {
    const gl = document.createElement("canvas").getContext("webgl");
    const info = gl && gl.getExtension("WEBGL_debug_renderer_info");
    const name = info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
    return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
  }

  function banner(text) {
    let box = document.getElementById("wmrobot-banner");
    if (!text) {
      if (box) box.remove();
      return;
    }
    if (!box) {
      box = document.createElement("div");
      box.id = "wmrobot-banner";
      box.setAttribute("role", "alert");
      box.style.cssText =
        "position:fixed;left:50%;top:12px;transform:translateX(-50%);z-index:10000;padding:10px 16px;border-radius:6px;" +
        "background:#b3261e;color:#fff;font:600 15px system-ui,sans-serif;text-align:center";
      document.body.appendChild(box);
    }
    box.textContent = text;
  }

  function keep(names, query) {
    const wanted = new URLSearchParams(location.search); // viser has parameters of its own
    for (const name of names) wanted.delete(name);
    for (const [name, value] of Object.entries(query)) wanted.set(name, value);
    const search = wanted.size ? "?" + wanted.toString() : "";
    if (search !== location.search) history.replaceState(null, "", location.pathname + search);
  }

  async function ask(wish = "") {
    try {
      const answer = await fetch("state" + wish, { cache: "no-store", signal: AbortSignal.timeout(3 * EVERY) });
      if (!answer.ok) throw new Error(String(answer.status));
      const state = await answer.json();
      missing = 0;
      if (document.title !== state.title) document.title = state.title;
      keep(state.names, state.query);
      banner(state.alive ? "" : "The control loop is silent: what you see stands still.");
    } catch {
      missing += 1;
      if (missing >= PATIENCE) banner("The server is gone: nothing here is live any more.");
    }
    setTimeout(() => ask(), EVERY);
  }

  const wanted = new URLSearchParams(location.search).has("shadows");
  addEventListener("DOMContentLoaded", () => ask(!wanted && drawsInSoftware() ? "?shadows=false" : ""));
})();
