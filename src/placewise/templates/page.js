// Tables of class "sortable" can be sorted by a click on a heading. Without this the page reads the same.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].textContent.trim();
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [row, value(row, column)]);
      const number = (text) => (text === "–" ? -Infinity : Number.parseFloat(text));
      const numeric = rows.every(([, text]) => text === "–" || !Number.isNaN(Number.parseFloat(text)));
      rows.sort(([, a], [, b]) => (numeric ? number(a) - number(b) : a.localeCompare(b)));
      if (descending) rows.reverse();
      body.append(...rows.map(([row]) => row));
    });
  });
}
