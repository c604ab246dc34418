// The board's search, sort, filter, compare and downloads, and the stepper of the duality demo.
// Everything shown is in the HTML already; the numbers behind it come from board.js, loaded when first needed.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const CHUNK = 250;

  function save(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function csvCell(value) {
    if (value === null) return "";
    let text = String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function board(table) {
    const body = byId("rows");
    const total = Number(table.dataset.total);
    const paged = Number(table.dataset.pages) > 1;
    let rows = null;
    let view = [];
    let shown = CHUNK;
    let chosen = [];

    // board.js is a classic script: a page opened from disk may load it, where a request for data would be refused.
    let loading = null;
    function withData(then) {
      if (rows) return then();
      loading = loading || new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = "board.js";
        script.onload = resolve;
        script.onerror = reject;
        document.head.append(script);
      }).then(() => {
        const { fields, rows: values, html } = window.mgnetBoard;
        rows = values.map((list, i) => {
          const row = Object.fromEntries(fields.map((field, k) => [field, list[k]]));
          row.reported = row.reported_v2 ?? row.reported_v1 ?? row.reported_quoted;
          row.text = [row.model, row.name, row.dataset, row.tables].join(" ").toLowerCase();
          row.place = i;
          row.html = html[i];
          row.element = byId(row.key);
          return row;
        });
        view = rows;
      });
      return loading.then(then, () => { byId("status").textContent = "board.js is missing beside this page; sorting and filtering need it."; });
    }

    function element(row) {
      if (!row.element) {
        const template = document.createElement("template");
        template.innerHTML = row.html;
        row.element = template.content.querySelector("tr");
      }
      addChoice(row);
      return row.element;
    }

    function addChoice(row) {
      const head = row.element.querySelector("th");
      if (head.querySelector("input")) return;
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = chosen.includes(row.key);
      box.setAttribute("aria-label", "compare " + row.name + " on " + row.dataset);
      box.addEventListener("change", () => choose(row, box));
      head.prepend(box, " ");
    }

    function choose(row, box) {
      chosen = chosen.filter((key) => key !== row.key);
      if (box.checked) chosen.push(row.key);
      if (chosen.length > 2) {
        const dropped = chosen.shift();
        const other = rows.find((r) => r.key === dropped);
        if (other.element) other.element.querySelector("input").checked = false;
      }
      byId("compare-open").disabled = chosen.length !== 2;
      remember();
    }

    function settings() {
      const sorted = table.querySelector("th[aria-sort]");
      return {
        q: byId("search").value.trim(),
        dataset: byId("dataset").value,
        show: byId("show").value,
        sort: sorted ? sorted.dataset.sort : "",
        dir: sorted && sorted.getAttribute("aria-sort") === "descending" ? "desc" : "",
        compare: chosen.join(","),
      };
    }

    function remember() {
      const state = Object.entries(settings()).filter(([, value]) => value);
      const hash = state.length ? "#" + new URLSearchParams(state) : location.pathname.split("/").pop() || "#";
      history.replaceState(null, "", hash);
    }

    const KINDS = {
      measured: (row) => row.measured_accuracy !== null,
      certified: (row) => row.certificate !== null,
      discrepant: (row) => (row.parameters_agreement || "").includes("discrepant"),
      own: (row) => row.reported_quoted === null || row.reported_v1 !== null || row.reported_v2 !== null,
    };

    function apply() {
      const { q, dataset, show, sort, dir } = settings();
      const words = q.toLowerCase().split(/\s+/).filter(Boolean);
      view = rows.filter((row) => (!dataset || row.dataset === dataset) && (!show || KINDS[show](row)) && words.every((word) => row.text.includes(word)));
      if (sort) view.sort((a, b) => order(a[sort], b[sort], dir === "desc" ? -1 : 1) || a.place - b.place);
      shown = CHUNK;
      draw();
      remember();
    }

    // What is unknown is at the end in both directions.
    function order(a, b, sign) {
      if (a === null || b === null) return (a === null) - (b === null);
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * String(a).localeCompare(String(b), "en", { numeric: true });
    }

    function draw() {
      body.replaceChildren(...view.slice(0, shown).map(element));
      byId("more").hidden = view.length <= shown;
      if (byId("pager")) byId("pager").hidden = true;
      byId("status").textContent = (view.length === total ? total + " rows" : view.length + " of " + total + " rows") + (view.length > shown ? ", the first " + shown + " shown." : ".");
    }

    function sortBy(head, direction) {
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      if (direction) head.setAttribute("aria-sort", direction);
    }

    function addSortButtons() {
      for (const head of byId("sorts").children) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        button.addEventListener("click", () => withData(() => {
          sortBy(head, head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending");
          apply();
        }));
        head.replaceChildren(button);
      }
    }

    function compare() {
      const pair = chosen.map((key) => rows.find((row) => row.key === key));
      const out = document.createElement("table");
      const line = (cells, tag) => {
        const tr = document.createElement("tr");
        cells.forEach((text, i) => {
          const cell = document.createElement(i === 0 || tag === "th" ? "th" : "td");
          cell.scope = tag === "th" ? "col" : i === 0 ? "row" : "";
          if (!cell.scope) cell.removeAttribute("scope");
          cell.textContent = text;
          tr.append(cell);
        });
        return tr;
      };
      const head = document.createElement("thead");
      head.append(line(["Field", ...pair.map((row) => row.name)], "th"));
      const lines = document.createElement("tbody");
      for (const field of window.mgnetBoard.fields) {
        if (["key", "page", "name"].includes(field)) continue;
        if (field === "variant" && pair.every((row) => row.variant === null)) continue;
        lines.append(line([field.replaceAll("_", " "), ...pair.map((row) => row[field] === null ? (field === "variant" ? "as registered" : field.startsWith("reported") ? "not reported" : "unknown") : typeof row[field] === "number" ? row[field].toLocaleString("en") : row[field])]));
      }
      out.append(head, lines);
      byId("compare-table").replaceChildren(out);
      byId("compare-note").textContent = verdict(pair);
      byId("compare").showModal();
    }

    // The same rule as on the page of comparisons, for any two reported accuracies of one data set, but uncorrected.
    function verdict([a, b]) {
      if (a.dataset !== b.dataset) return "The data sets differ, so the accuracies cannot be compared.";
      const n = window.mgnetBoard.testImages[a.dataset];
      if (!n || a.reported === null || b.reported === null) return "";
      const [p, q] = [a.reported / 100, b.reported / 100];
      const z = Math.abs(p - q) / Math.sqrt((p * (1 - p) + q * (1 - q)) / n);
      return "The reported accuracies differ by " + (100 * Math.abs(p - q)).toFixed(2) + " points, " + z.toFixed(1) + " standard errors of a test set of " + n.toLocaleString("en") + " images: " + (z < 1.96 ? "not significant." : "significant at 0.05, if this were the only comparison.");
    }

    function plain(row) {
      return window.mgnetBoard.fields.map((field) => row[field]);
    }

    function connect() {
      byId("controls").hidden = false;
      byId("controls").addEventListener("submit", (event) => event.preventDefault());
      byId("search").addEventListener("input", () => withData(apply));
      for (const id of ["dataset", "show"]) byId(id).addEventListener("change", () => withData(apply));
      byId("more").addEventListener("click", () => { shown += CHUNK; draw(); });
      byId("save-csv").addEventListener("click", () => withData(() => save("mgnet-board.csv", "text/csv", [window.mgnetBoard.fields, ...view.map(plain)].map((list) => list.map(csvCell).join(",")).join("\n") + "\n")));
      byId("save-json").addEventListener("click", () => withData(() => save("mgnet-board.json", "application/json", JSON.stringify(view.map((row) => Object.fromEntries(window.mgnetBoard.fields.map((field) => [field, row[field]]))), null, 2) + "\n")));
      byId("compare-open").addEventListener("click", compare);
      byId("compare-close").addEventListener("click", () => byId("compare").close());
      byId("reset").addEventListener("click", () => withData(() => { restore(new URLSearchParams()); }));
      addSortButtons();
    }

    function restore(state) {
      byId("search").value = state.get("q") || "";
      byId("dataset").value = state.get("dataset") || "";
      byId("show").value = state.get("show") || "";
      chosen = (state.get("compare") || "").split(",").filter((key) => rows.some((row) => row.key === key)).slice(0, 2);
      byId("compare-open").disabled = chosen.length !== 2;
      for (const row of rows) {
        const box = row.element && row.element.querySelector("input");
        if (box) box.checked = chosen.includes(row.key);
      }
      const head = [...byId("sorts").children].find((th) => th.dataset.sort === state.get("sort"));
      sortBy(head, head ? (state.get("dir") === "desc" ? "descending" : "ascending") : null);
      apply();
    }

    function fromAddress() {
      const hash = location.hash.slice(1);
      if (hash.includes("=")) withData(() => restore(new URLSearchParams(hash)));
    }

    connect();
    fromAddress();
    addEventListener("hashchange", fromAddress);
    if (!paged && !location.hash.includes("=")) requestIdleCallback(() => withData(() => rows.forEach(element)));
  }

  function stepper(frames) {
    const states = [...frames.children];
    const range = byId("step");
    range.max = states.length;
    const show = () => {
      states.forEach((state, i) => { state.hidden = i !== range.value - 1; });
      byId("step-status").textContent = states[range.value - 1].getAttribute("aria-label") + ", " + range.value + " of " + states.length;
      byId("step-back").disabled = Number(range.value) === 1;
      byId("step-on").disabled = Number(range.value) === states.length;
    };
    const move = (by) => { range.value = Number(range.value) + by; show(); };
    byId("step-back").addEventListener("click", () => move(-1));
    byId("step-on").addEventListener("click", () => move(1));
    range.addEventListener("input", show);
    byId("stepper").hidden = false;
    show();
  }

  if (byId("board")) board(byId("board"));
  if (byId("frames")) stepper(byId("frames"));
})();
