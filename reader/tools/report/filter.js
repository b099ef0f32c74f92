// Filters the examples by split and by the words in the search field.
// Reads only text on the page, and writes only the count of matches into it.
"use strict";
(() => {
  const search = document.getElementById("words");
  if (!search) return;
  const cards = [...document.querySelectorAll(".card")].map((element) => ({
    element,
    split: element.dataset.split,
    text: plain(element.textContent),
  }));
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const splits = [...document.querySelectorAll("input[name=split]")];

  function plain(text) {
    return text.normalize("NFKC").toLowerCase();
  }

  function update() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const chosen = splits.find((split) => split.checked);
    const split = chosen ? chosen.value : "";
    let shown = 0;
    for (const card of cards) {
      const fits =
        (!split || card.split === split) &&
        words.every((word) => card.text.includes(word));
      card.element.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${cards.length}`;
    none.hidden = shown > 0;
  }

  for (const element of document.querySelectorAll(".needs-script")) {
    element.hidden = false;
  }
  search.addEventListener("input", update);
  for (const split of splits) split.addEventListener("change", update);
  // A browser may restore the search field when it reloads the page.
  update();
})();
