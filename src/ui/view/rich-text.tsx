// Markdown on the page, a block at a time. Blocks that did not change keep their elements.

import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Block } from "../text/blocks.js";
import { GrowingText } from "../text/growing.js";
import { renderBlock } from "../text/markdown.js";

export function RichText({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  const growing = useRef<GrowingText | null>(null);
  const blocks = useMemo(() => {
    // When the text is complete it is parsed once as a whole: lists and references may reach across blocks.
    if (!isGrowing || growing.current === null) {
      growing.current = new GrowingText();
    }
    return growing.current.update(text);
  }, [text, isGrowing]);
  return (
    <div class="text">
      {blocks.map((block) => (
        <RichBlock key={block.place} block={block} />
      ))}
    </div>
  );
}

function RichBlock({ block }: { block: Block }) {
  const place = useRef<HTMLDivElement>(null);
  const shown = useRef<string | null>(null);
  useLayoutEffect(() => {
    if (shown.current !== block.source) {
      shown.current = block.source;
      place.current?.replaceChildren(renderBlock(block));
    }
  }, [block]);
  return <div ref={place} />;
}
