"use strict";
// A click on a header sorts the rows of every section by that column: numbers downward first, text upward first.
function sortBy(button) {
  const header = button.closest("th"), table = header.closest("table"), column = header.cellIndex;
  const bodies = [...table.tBodies];
  const keyOf = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim().toLowerCase() : cell.dataset.value;
  };
  const numeric = header.classList.contains("num");
  const now = header.getAttribute("aria-sort");
  const down = now === "none" ? numeric : now === "ascending";
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of bodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const empty = (key) => key === "" ? 1 : 0;
    rows.sort((first, second) => {
      const a = keyOf(first), b = keyOf(second);
      if (numeric && (a === "" || b === "")) return empty(a) - empty(b);
      return (down ? -1 : 1) * (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, {numeric: true}));
    });
    body.append(...rows);
  }
}

function togglePlay(button) {
  const playing = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(playing));
  button.textContent = playing ? "Pause" : "Play";
  button.closest(".strips").classList.toggle("started", true);
  button.closest(".strips").classList.toggle("playing", playing);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".play")) togglePlay(button);
  else if (button.closest("table.sortable thead")) sortBy(button);
});
