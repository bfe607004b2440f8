import { Dialog } from "./dialog.js";

const keys: readonly [string, string][] = [
  ["Enter", "send the message"],
  ["Shift + Enter", "a new line"],
  ["Esc", "stop the answer"],
  ["↑ in the empty field", "edit your last message"],
  ["/", "write a message"],
  ["Ctrl + K", "search the chats"],
  ["Ctrl + Shift + O", "a new chat"],
  ["Ctrl + Enter", "send or save an edited message"],
  ["?", "this list"],
];

export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
