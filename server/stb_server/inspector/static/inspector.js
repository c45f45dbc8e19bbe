// What pages do beyond showing: copying, folding a tree by key, coming again, and following a run.
// Every page can be read without it.
"use strict";

// Copy buttons appear only where copying works.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const label = button.textContent;
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// A page that waits for the server to finish counting.
const waiting = document.querySelector("[data-reload]");
if (waiting) setTimeout(() => location.reload(), 1000 * Number(waiting.dataset.reload));

// Trees: the arrow keys go from line to line, open and close.
for (const tree of document.querySelectorAll("[data-tree]")) {
  const lines = () => [...tree.querySelectorAll("summary")].filter((line) => {
    for (let at = line.parentElement.parentElement.closest("details"); at && tree.contains(at); at = at.parentElement.closest("details")) {
      if (!at.open) return false;
    }
    return true;
  });
  tree.addEventListener("keydown", (event) => {
    const line = event.target.closest("summary");
    if (!line || event.altKey || event.ctrlKey || event.metaKey) return;
    const all = lines();
    const here = all.indexOf(line);
    const details = line.parentElement;
    let next = null;
    if (event.key === "ArrowDown") next = all[here + 1];
    else if (event.key === "ArrowUp") next = all[here - 1];
    else if (event.key === "Home") next = all[0];
    else if (event.key === "End") next = all[all.length - 1];
    else if (event.key === "ArrowRight") {
      if (!details.open) details.open = true;
      else next = all[here + 1];
    } else if (event.key === "ArrowLeft") {
      if (details.open) details.open = false;
      else next = details.parentElement.closest("details")?.querySelector(":scope > summary");
    } else return;
    event.preventDefault();
    if (next && tree.contains(next)) next.focus();
  });
  const tools = document.querySelector("[data-tree-tools]");
  if (tools) {
    tools.hidden = false;
    const branches = tree.querySelectorAll("details.branch");
    tools.querySelector("[data-open-all]").addEventListener("click", () => { for (const one of branches) one.open = true; });
    tools.querySelector("[data-close-all]").addEventListener("click", () => {
      for (const one of branches) one.open = "answer" in one.dataset;
    });
  }
}

// Runs that are under way. The server ends each answer, and the browser asks again by itself; only
// silence for a while means that the server is away. A browser keeps few connections to one server, so
// no more than three runs of a table are followed.
const number = new Intl.NumberFormat("en-US");
function follow(run) {
  const part = (name) => run.querySelector(`[data-live="${name}"]`);
  const show = (name, text) => { if (part(name)) part(name).textContent = text; };
  const source = new EventSource(run.dataset.events);
  const loaded = part("done").textContent;
  let heard = Date.now();
  const hear = (event) => {
    heard = Date.now();
    const state = JSON.parse(event.data);
    show("done", number.format(state.done));
    show("expected", number.format(state.expected));
    if (part("bar")) {
      part("bar").max = state.expected || 1;
      part("bar").value = state.done;
    }
    if (state.complete) {
      show("state", "✓ complete");
      part("state").className = "ok";
      source.close();
    }
    show("note", part("done").textContent === loaded ? "" : "The numbers and trials below are out of date. Reload the page to update them.");
  };
  source.addEventListener("progress", hear);
  source.addEventListener("same", hear);
  setInterval(() => {
    if (source.readyState === EventSource.CLOSED || Date.now() - heard < 12000) return;
    show("note", "The server does not respond. Retrying…");
  }, 2000);
}
[...document.querySelectorAll("[data-events]")].slice(0, 3).forEach(follow);

// A table of trials in a file: there is no server to ask, so rows are hidden here. The address may say
// which are wanted, as the links from the table of groups do.
const filter = document.querySelector("[data-filter]");
if (filter) {
  const rows = [...document.querySelectorAll("tr[data-group]")];
  const wanted = new URLSearchParams(location.search);
  for (const field of filter.elements) {
    if (field.name && wanted.get(field.name)) field.value = wanted.get(field.name);
  }
  const apply = () => {
    const given = Object.fromEntries(new FormData(filter));
    const words = (given.query || "").toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = ["group", "outcome", "stop"].every((name) => !given[name] || row.dataset[name] === given[name])
        && row.dataset.query.includes(words);
      row.hidden = !fits;
      shown += fits;
    }
    filter.querySelector("[data-shown]").textContent = new Intl.NumberFormat("en-US").format(shown);
  };
  filter.hidden = false;
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
