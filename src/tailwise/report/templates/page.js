"use strict";
// Sorts and filters the tables of the page. Without it everything can be read, from the largest class to the smallest.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const text = cell => cell.textContent.trim();
  const number = cell => {
    const value = parseFloat(text(cell).replace(/,/g, "").replace("\u2212", "-"));
    return Number.isNaN(value) ? null : value;
  };
  const names = new Intl.Collator("en", { numeric: true });

  /** Whether a column holds numbers; heads of rows are names, also where these are digits. */
  const numeric = (table, column) => {
    const cells = [...table.tBodies[0].rows].map(row => row.cells[column]);
    return cells.every(cell => cell.tagName === "TD") && cells.some(cell => number(cell) !== null);
  };

  /** Orders the rows by a column; cells without a value stay at the end in both directions. */
  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const asNumbers = numeric(table, column);
    const key = row => (asNumbers ? number(row.cells[column]) : text(row.cells[column]));
    const keyed = rows.map((row, place) => ({ row, place, value: key(row) }));
    keyed.sort((a, b) => {
      const missing = (a.value === null || a.value === "") - (b.value === null || b.value === "");
      if (missing) return missing;
      if (a.value === null) return a.place - b.place;
      const order = asNumbers ? a.value - b.value : names.compare(a.value, b.value);
      return direction * order || a.place - b.place;
    });
    body.append(...keyed.map(item => item.row));
    all("th", table.tHead).forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  for (const table of all("table[data-sortable]")) {
    all("th", table.tHead).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        // Numbers begin with the largest, names with the first.
        const direction = now === null ? (numeric(table, column) ? -1 : 1) : now === "ascending" ? -1 : 1;
        sort(table, column, direction);
      });
    });
  }

  const table = document.querySelector("table[data-filterable]");
  const controls = document.querySelector(".controls");
  if (table && controls) {
    const control = Object.fromEntries(all("[data-filter]", controls).map(item => [item.dataset.filter, item]));
    const heads = all("th", table.tHead);
    const gains = heads.map((head, column) => (head.hasAttribute("data-gain") ? column : -1)).filter(c => c >= 0);
    const shown = controls.querySelector("output");
    const filter = () => {
      const word = control.name.value.trim().toLowerCase();
      const group = control.group.value;
      const [which, sign] = control.gain && control.gain.value ? control.gain.value.split(" ").map(Number) : [-1, 0];
      let count = 0;
      for (const row of table.tBodies[0].rows) {
        const fits = (!word || text(row.cells[1]).toLowerCase().includes(word))
          && (!group || text(row.cells[3]) === group)
          && (which < 0 || number(row.cells[gains[which]]) * sign > 0);
        row.hidden = !fits;
        count += fits;
      }
      shown.textContent = `${count} of ${table.tBodies[0].rows.length} classes`;
    };
    controls.addEventListener("input", filter);
    controls.querySelector("[data-reset]").addEventListener("click", () => {
      for (const item of Object.values(control)) item.value = "";
      filter();
    });
    controls.hidden = false;
    filter();
  }

  /** What is wider or taller than its place can be moved by the keyboard too. */
  function reachable() {
    for (const box of all(".scroll")) {
      const moves = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (moves) {
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", `${box.dataset.label}, scrollable`);
      } else {
        for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      }
    }
  }
  addEventListener("resize", reachable);
  for (const item of all("details")) item.addEventListener("toggle", reachable);
  reachable();
})();
