// The settings of a chat. Nothing wrong can be saved; what is left empty is the server's default.

import { useState } from "preact/hooks";
import { keepDefaultSettings, readDefaultSettings } from "../app/preferences.js";
import { type Parameter, parameters, readParameter, type Settings, schemaProblem } from "../chats/settings.js";
import { Dialog } from "./dialog.js";
import { useApp } from "./use-app.js";

export function SettingsDialog({ onClose }: { onClose: () => void }) {
  const app = useApp();
  const settings = app.current?.chat.settings ?? readDefaultSettings();
  const [system, setSystem] = useState(settings.system);
  const [schema, setSchema] = useState(settings.schema);
  const [probabilities, setProbabilities] = useState(settings.probabilities);
  const [texts, setTexts] = useState<Record<string, string>>(() =>
    Object.fromEntries(Object.entries(settings.values).map(([name, value]) => [name, String(value)])),
  );
  const problem = schemaProblem(schema);
  const read = parameters.map((row) => ({ row, value: readParameter(row, texts[row.name] ?? "") }));
  const isWrong = problem !== undefined || read.some(({ value }) => typeof value === "string");
  const typed = (): Settings => ({
    system,
    schema,
    probabilities,
    values: Object.fromEntries(
      read.flatMap(({ row, value }) => (typeof value === "number" ? [[row.name, value] as const] : [])),
    ),
  });
  const save = (forAll: boolean) => {
    if (forAll) {
      keepDefaultSettings(typed());
      app.tell("New chats begin with these settings.");
    }
    void app.changeSettings(typed());
    onClose();
  };
  return (
    <Dialog title="Settings of this chat" class="settings" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          save(false);
        }}
      >
        <div class="field">
          <label for="system">System prompt</label>
          <textarea
            id="system"
            dir="auto"
            rows={3}
            value={system}
            aria-describedby="about-system"
            onInput={(event) => setSystem(event.currentTarget.value)}
          />
          <small id="about-system">What the model is told before the first message.</small>
        </div>
        <div class="grid">
          {read.map(({ row, value }) => (
            <ParameterField
              key={row.name}
              row={row}
              text={texts[row.name] ?? ""}
              problem={typeof value === "string" ? value : undefined}
              onType={(text) => setTexts({ ...texts, [row.name]: text })}
            />
          ))}
        </div>
        <div class="field">
          <label for="schema">JSON schema</label>
          <textarea
            id="schema"
            class="mono"
            dir="ltr"
            rows={4}
            spellcheck={false}
            value={schema}
            placeholder={'{"type": "object", ...}'}
            aria-invalid={problem !== undefined}
            aria-describedby="about-schema"
            onInput={(event) => setSchema(event.currentTarget.value)}
          />
          <small id="about-schema" class={problem === undefined ? "" : "wrong"}>
            {problem ?? "Every answer is then JSON that this schema accepts."}
          </small>
        </div>
        <label class="check">
          <input
            type="checkbox"
            checked={probabilities}
            onChange={(event) => setProbabilities(event.currentTarget.checked)}
          />
          <span>Ask for the probabilities of tokens</span>
        </label>
        <div class="row end wrap">
          <button type="button" disabled={isWrong} onClick={() => save(true)}>
            Save, also for new chats
          </button>
          <button type="submit" class="primary" disabled={isWrong}>
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}

interface ParameterFieldProps {
  row: Parameter;
  text: string;
  problem: string | undefined;
  onType: (text: string) => void;
}

function ParameterField({ row, text, problem, onType }: ParameterFieldProps) {
  const standard = useApp().info?.defaults[row.name];
  // Below 0 the server says that it decides itself.
  const isOpen = standard === undefined || (standard < 0 && row.placeholder !== undefined);
  const placeholder = isOpen ? (row.placeholder ?? "default") : String(Number(standard.toFixed(4)));
  const about = `about-${row.name}`;
  return (
    <div class="field">
      <label for={row.name}>{row.label}</label>
      <input
        id={row.name}
        inputMode="decimal"
        autocomplete="off"
        dir="ltr"
        value={text}
        placeholder={placeholder}
        aria-invalid={problem !== undefined}
        aria-describedby={about}
        onInput={(event) => onType(event.currentTarget.value)}
      />
      <small id={about} class={problem === undefined ? "" : "wrong"}>
        {problem ?? row.about}
      </small>
    </div>
  );
}
