// Paths and branches of a chat's tree. Siblings are messages with the same parent, in the order of their making.

import type { Message } from "./chat.js";

export type Tree = ReadonlyMap<string, Message>;

/** The messages from the first one to `leaf`. Damaged trees (a parent that is not there, a circle) end the path. */
export function pathTo(tree: Tree, leaf: string | null): Message[] {
  const path: Message[] = [];
  const seen = new Set<string>();
  for (let id = leaf; id !== null && !seen.has(id); ) {
    const message = tree.get(id);
    if (message === undefined) {
      break;
    }
    seen.add(id);
    path.push(message);
    id = message.parent;
  }
  return path.reverse();
}

/** By parent; computed once for a whole path, as every message asks for its siblings. */
export function childrenOf(tree: Tree): Map<string | null, Message[]> {
  const children = new Map<string | null, Message[]>();
  for (const message of tree.values()) {
    const siblings = children.get(message.parent);
    if (siblings === undefined) {
      children.set(message.parent, [message]);
    } else {
      siblings.push(message);
    }
  }
  for (const siblings of children.values()) {
    siblings.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
  }
  return children;
}

/** The end of the newest branch below a message: what is shown when that message is chosen. */
export function newestLeaf(tree: Tree, id: string): string {
  const children = childrenOf(tree);
  const seen = new Set<string>();
  let leaf = id;
  for (let next = children.get(leaf)?.at(-1); next !== undefined && !seen.has(next.id); ) {
    seen.add(next.id);
    leaf = next.id;
    next = children.get(leaf)?.at(-1);
  }
  return leaf;
}

/** A message and all that follow it in any branch. */
export function subtreeOf(tree: Tree, id: string): string[] {
  const children = childrenOf(tree);
  const found = new Set([id]);
  for (const one of found) {
    for (const child of children.get(one) ?? []) {
      found.add(child.id);
    }
  }
  return [...found];
}
