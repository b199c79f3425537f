"use strict";
// What this adds works in any browser, from a file, without a network: tables that can be sorted, pictures that can be
// enlarged. Without it the page shows the same.

// Whether a belongs before b. What is not known comes last, whatever the direction.
function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const numbers = [Number(a), Number(b)];
  const order = numbers.some(Number.isNaN) ? a.localeCompare(b, "en", { numeric: true }) : numbers[0] - numbers[1];
  return down ? -order : order;
}

function valueOf(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.sort ?? cell.textContent.trim();
  return value === "-" ? "" : value;
}

function sortBy(table, heading, column) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => compare(valueOf(a, column), valueOf(b, column), down)));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading, column));
  });
}

const dialog = document.createElement("dialog");
dialog.setAttribute("aria-label", "Enlarged picture");
dialog.innerHTML = '<form method="dialog"><button>Close</button></form>';
document.body.append(dialog);
dialog.addEventListener("click", (event) => { if (event.target.tagName !== "IMG") dialog.close(); });
dialog.addEventListener("close", () => dialog.lastChild.remove());

for (const image of document.querySelectorAll("figure img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "zoom";
  button.title = "Enlarge";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const enlarged = image.cloneNode();
    enlarged.className = image.closest("figure").className;
    dialog.append(enlarged);
    dialog.showModal();
    dialog.scrollTo(0, 0);
  });
}
