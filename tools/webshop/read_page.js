// Reads a page of any WebShop server by the official rule: its text nodes in order, outside of what
// is not text, white space between elements left out. Given the place of one among them, it finds
// out instead how to click it.
(wanted) => {
  const NOT_TEXT = "style, script, head, title, meta";

  const texts = () => {
    const found = [];
    const walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const parent = node.parentElement;
      if (parent === null || parent.matches(NOT_TEXT)) continue;
      // Chromium splits a text of over 65,536 characters into nodes side by side.
      if (node.previousSibling?.nodeType === Node.TEXT_NODE) continue;
      const text = node.wholeText;
      if (text === "\n") continue;
      if (/[^ \n\t\f\r]/.test(text) || parent.closest("pre, textarea")) {
        found.push([parent, text]);
      } else if (!text.includes("\n")) {
        found.push([parent, " "]);
      }
    }
    return found;
  };

  const described = ([parent, text]) => {
    const label = parent.closest("label");
    if (label !== null) return ["option", text, label.control?.name ?? ""];
    if (parent.localName === "button") return ["button", text, ""];
    if (parent.getAttribute("class") === "product-link") return ["product", text, ""];
    return ["text", text, ""];
  };

  const way = (element) => {
    const label = element.closest("label");
    if (label !== null) {
      const within = label.querySelector("a[href]");
      const address = label.control?.dataset.url;
      // Official values are radio buttons, and a script goes to the address: none runs here.
      if (within === null && address) return { address: new URL(address, document.baseURI).href };
      element = within ?? label;
    }
    const link = element.closest("a[href]");
    if (!element.form && link === null) return {};
    if (link !== null) {
      // Nothing navigates by these: a script that does not run, a file, another program.
      if (!/^https?:$/.test(link.protocol) || link.hasAttribute("download")) return {};
      if (link.target !== "" && link.target !== "_self") return { address: link.href };
    }
    element.scrollIntoView({ block: "center", inline: "center" });
    const box = element.getClientRects()[0];
    if (box === undefined) return {};
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };

  const found = texts();
  if (wanted !== null) return way(found[wanted][0]);
  return {
    nodes: found.map(described),
    searchable: document.querySelector("#search_input") !== null,
    height: document.documentElement.scrollHeight,
  };
}
