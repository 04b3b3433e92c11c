"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const root = document.documentElement;

  // Colours: as the system, or one of both; remembered where the browser lets a page remember anything.
  const theme = document.getElementById("theme");
  const names = { "": "as the system", light: "light", dark: "dark" };
  const remembered = {
    get: () => { try { return localStorage.getItem("halfopen-theme") ?? ""; } catch { return ""; } },
    set: (name) => { try { localStorage.setItem("halfopen-theme", name); } catch { /* It is forgotten. */ } },
  };
  const paint = (name) => {
    if (name) root.dataset.theme = name; else delete root.dataset.theme;
    theme.textContent = "Colours: " + names[name];
  };
  const known = remembered.get();
  paint(known in names ? known : "");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const order = Object.keys(names);
    const next = order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length];
    remembered.set(next);
    paint(next);
  });

  // A case's content waits as text, and becomes part of the page when the case is opened.
  const bodyOf = (row) => row.nextElementSibling?.classList.contains("body") ? row.nextElementSibling : null;
  const open = (row) => {
    const button = row.querySelector(".open");
    const waiting = document.getElementById("body-" + row.id);
    if (!button || !waiting || button.getAttribute("aria-expanded") === "true") return;
    const body = document.createElement("tr");
    body.className = "body";
    body.setAttribute("role", "row");
    const cell = document.createElement("td");
    cell.colSpan = row.cells.length;
    cell.setAttribute("role", "cell");
    cell.innerHTML = waiting.textContent;
    body.append(cell);
    row.after(body);
    button.setAttribute("aria-expanded", "true");
  };
  const close = (row) => {
    bodyOf(row)?.remove();
    row.querySelector(".open")?.setAttribute("aria-expanded", "false");
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("tbody .open");
    if (!button) return;
    const row = button.closest("tr");
    if (button.getAttribute("aria-expanded") === "true") { close(row); return; }
    open(row);
    // The address names the case, so that it can be sent to somebody. From some places a page may not change it.
    try { history.replaceState(null, "", "#" + row.id); } catch { /* It stays. */ }
  });

  // Filters.
  const search = document.getElementById("filter");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");
  const rows = () => all("tr[data-order]");
  const everything = rows();
  const filter = () => {
    const words = (search?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = verdict?.value ?? "";
    let count = 0;
    for (const row of everything) {
      const fits = (!wanted || row.dataset.verdict === wanted) &&
        words.every((word) => row.dataset.words.includes(word));
      row.hidden = !fits;
      const body = bodyOf(row);
      if (body) body.hidden = !fits;
      if (fits) count += 1;
    }
    const whole = everything.length;
    if (shown) shown.textContent = count === whole ? `${whole} shown` : `${count} of ${whole} shown`;
    for (const button of all(".count")) {
      button.setAttribute("aria-pressed", String(wanted !== "" && button.dataset.verdict === wanted));
    }
  };
  search?.addEventListener("input", filter);
  verdict?.addEventListener("change", filter);
  for (const button of all(".count")) {
    button.addEventListener("click", () => {
      verdict.value = verdict.value === button.dataset.verdict ? "" : button.dataset.verdict;
      filter();
      document.getElementById("cases").scrollIntoView();
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && search) { event.preventDefault(); search.focus(); }
  });

  // Sorting: up, down, and as it was.
  const collator = new Intl.Collator("en", { numeric: true });
  const sort = (header) => {
    const table = header.closest("table");
    const body = table.tBodies[0];
    const column = header.cellIndex;
    const before = header.getAttribute("aria-sort");
    const way = { none: "ascending", ascending: "descending", descending: "none" }[before];
    for (const other of all("thead th", table)) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", way);
    const numbers = header.querySelector("[data-sort]").dataset.sort === "number";
    const keyed = all("tr[data-order]", body).map((row) => {
      const cell = row.cells[column];
      const key = numbers ? cell.dataset.key : cell.textContent.trim();
      return { row, body: bodyOf(row), order: Number(row.dataset.order), key: numbers && key ? Number(key) : key };
    });
    const sign = way === "descending" ? -1 : 1;
    keyed.sort((a, b) => {
      if (way === "none") return a.order - b.order;
      if (numbers) {
        // What has no number comes last, up as down.
        const [none, other] = [a, b].map((one) => one.key === "" || one.key === undefined);
        if (none || other) return none - other || a.order - b.order;
        return sign * (a.key - b.key) || a.order - b.order;
      }
      return sign * collator.compare(a.key, b.key) || a.order - b.order;
    });
    const sorted = document.createDocumentFragment();
    for (const { row, body } of keyed) {
      sorted.append(row);
      if (body) sorted.append(body);
    }
    body.append(sorted);
  };
  for (const button of all("thead [data-sort]")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // A link to a case opens it.
  const visit = () => {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* As it is. */ }
    const row = name && document.getElementById(name);
    if (!row?.matches?.("tr[data-order]")) return;
    if (row.hidden) {
      if (search) search.value = "";
      if (verdict) verdict.value = "";
      filter();
    }
    open(row);
    row.scrollIntoView();
    row.querySelector(".open")?.focus({ preventScroll: true });
  };
  addEventListener("hashchange", visit);
  // The same link again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) visit();
  });
  if (everything.length === 1) open(everything[0]);
  if (shown) filter();
  visit();
})();
