"use strict";
// Keeps the page as it would be if it were loaded now. The stream only tells when
// to ask: what is shown is made in one place, by the server, so the page cannot say
// another thing with a script than without one. What is the same stays untouched in
// the document, so the place on the page, the focus, a selection and what is open
// are kept, and a screen reader speaks of the headline only if it became another one.
(() => {
  const live = document.getElementById("live");
  const patience = 5000; // vipd sends something each second
  const pause = 2000; // between two attempts
  let source, watch, busy = false, again = false;

  function say(text, lost) {
    if (live.textContent !== text) live.textContent = text;
    document.body.className = lost ? "lost" : "live";
  }

  function connect() {
    source = new EventSource("events" + location.search);
    source.addEventListener("view", () => { wait(); refresh(); });
    source.addEventListener("error", lose);
    wait();
  }

  // wait notices a peer that fell silent, of which the browser hears nothing.
  function wait() {
    clearTimeout(watch);
    watch = setTimeout(lose, patience);
  }

  // lose also tries again, as a browser does not after an answer that is no stream.
  function lose() {
    source.close();
    clearTimeout(watch);
    watch = setTimeout(connect, pause);
    const { time, node } = document.querySelector("main").dataset;
    say(`Not live since ${time}: no news from vipd on ${node}. It has ended, cannot be reached, or has too many readers. ` +
      "What is shown was so then. Trying again.", true);
  }

  async function refresh() {
    again = busy;
    if (busy) return;
    busy = true;
    const from = source;
    try {
      const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      if (from === source && source.readyState !== EventSource.CLOSED) show(new DOMParser().parseFromString(text, "text/html"));
    } catch {
      if (from === source) lose();
    }
    busy = false;
    if (again) refresh();
  }

  function show(next) {
    for (const part of ["style", "script"]) { // another version of vipd
      if (document.querySelector(part).textContent !== next.querySelector(part).textContent) return location.reload();
    }
    if (document.title !== next.title) document.title = next.title;
    become(document.querySelector("main"), next.querySelector("main"));
    say("Live", false);
  }

  // become makes a node like another one. An element with an id is the same as the
  // one that had it before, wherever it was among its siblings.
  function become(node, next) {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== next.data) node.data = next.data;
      return;
    }
    for (const { name, value } of [...next.attributes]) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) { // open is the reader's
      if (name !== "open" && !next.hasAttribute(name)) node.removeAttribute(name);
    }
    let at = node.firstChild;
    for (const want of [...next.childNodes]) {
      const have = want.id ? [...node.children].find((e) => e.id === want.id) : at;
      if (!have || have.nodeName !== want.nodeName || (have.id || "") !== (want.id || "")) {
        node.insertBefore(document.importNode(want, true), at);
        continue;
      }
      if (have === at) at = at.nextSibling;
      else node.insertBefore(have, at);
      become(have, want);
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  }

  connect();
})();
