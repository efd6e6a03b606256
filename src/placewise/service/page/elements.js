/** Elements: found by id, and made; text is always text, so that no name of a photo or a place is ever markup. */

export const byId = (id) => document.getElementById(id);

/** An element with properties, dataset and children; a child that is null is left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of SVG with attributes and children. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Show an element or not. */
export const show = (element, shown) => {
  element.hidden = !shown;
};

/** Say something to those who hear the page. */
export function announce(text) {
  byId("status").textContent = text;
}

/** A name as text that may be broken after what joins its words, rather than inside one. */
export const breakable = (text) => text.split(/(?<=[_\-/.])/).flatMap((part, at) => (at ? [make("wbr"), part] : [part]));
