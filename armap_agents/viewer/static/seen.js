// What was seen: observations, pictures, steps.

class Seen {
  constructor(data) {
    this.data = data;
  }

  /** An observation in full: text, pictures, valid actions, facts. */
  observation(number) {
    const { text, pictures = [], actions, actions_left_out: more, facts: known } = this.data.observations[number];
    return [
      make("div", { class: "seen", dir: "auto", tabindex: "0", role: "group", "aria-label": "Observation" }, text || "(no text)"),
      ...pictures.map((picture) => this.picture(picture)),
      known && facts(known),
      actions && fold(`${figure(actions.length + more)} valid actions`, () => make("ul", {},
        ...actions.map((action) => make("li", { dir: "auto" }, action)),
        more ? make("li", {}, `… and ${figure(more)} more, which the page leaves out`) : null)),
    ];
  }

  picture([name, sha256]) {
    const address = this.data.pictures[sha256];
    if (!address) return make("p", { class: "hint" }, `Picture (${name}): not in this page. It is missing, of no known kind, or beyond the page's limit; the run's blobs folder may hold ${sha256.slice(0, 12)}….`);
    return make("figure", {},
      make("img", { src: address, alt: name, loading: "lazy" }), make("figcaption", { dir: "auto" }, name));
  }

  /** Steps as a list; each is [action, observation, what the policy said]. */
  steps(steps, first = 1) {
    return make("ol", { class: "steps" }, ...steps.map(([action, observation, said], k) => make("li", {},
      make("p", { class: "took", dir: "auto" }, make("span", {}, `${first + k}  `), action),
      said && make("p", { class: "said", dir: "auto" }, said),
      ...this.observation(observation))));
  }
}

/** A fold whose content is made when it is first opened. */
function fold(title, content, open = false) {
  const made = make("details", { open: open && "" }, make("summary", {}, title));
  const fill = () => { if (made.open && made.childElementCount === 1) made.append(content()); };
  made.addEventListener("toggle", fill);
  fill();
  return made;
}
