// The probabilities of an answer's tokens: the text with colours, and for the chosen token what else was likely.

import { useId, useMemo, useState } from "preact/hooks";
import type { TokenProbability } from "../chats/chat.js";

/** Steps of colour, from sure to surprised. */
const steps = [0.9, 0.6, 0.3, 0.1];

function stepOf(logprob: number): number {
  const found = steps.findIndex((bound) => Math.exp(logprob) >= bound);
  return found < 0 ? steps.length : found;
}

const percent = (logprob: number) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;

/** Spaces and line ends, which are seen nowhere else. */
const visible = (token: string) => token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·");

export function Probabilities({ tokens }: { tokens: TokenProbability[] }) {
  const list = useId();
  const [chosen, choose] = useState(0);
  const entries = useMemo(() => tokens.map((one, place) => ({ place, one })), [tokens]);
  const token = tokens[Math.min(chosen, tokens.length - 1)];
  const sum = tokens.reduce((total, { logprob }) => total + logprob, 0);
  const move = (event: KeyboardEvent) => {
    const to = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      choose(Math.max(0, Math.min(tokens.length - 1, to)));
    }
  };
  return (
    <div class="probabilities">
      <p class="faint">
        {tokens.length} tokens, perplexity {Math.exp(-sum / tokens.length).toFixed(2)}. Choose a token with the pointer
        or the arrow keys.
      </p>
      <div
        class="tokens"
        dir="auto"
        role="listbox"
        tabIndex={0}
        aria-label="Tokens"
        aria-activedescendant={`${list}-${chosen}`}
        onKeyDown={move}
      >
        {entries.map(({ place, one }) => (
          <span
            key={place}
            id={`${list}-${place}`}
            role="option"
            tabIndex={-1}
            aria-selected={place === chosen}
            class={`p${stepOf(one.logprob)}`}
            onPointerDown={() => choose(place)}
          >
            {one.token}
          </span>
        ))}
      </div>
      {token !== undefined && <Alternatives token={token} />}
    </div>
  );
}

function Alternatives({ token }: { token: TokenProbability }) {
  const likely = token.top.some((other) => other.token === token.token) ? token.top : [token, ...token.top];
  const rows = likely.map(({ token: text, logprob }, rank) => ({ rank, text, logprob }));
  return (
    <table class="alternatives" aria-live="polite">
      <thead>
        <tr>
          <th scope="col">Token</th>
          <th scope="col">Probability</th>
          <th scope="col">Logarithm</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ rank, text, logprob }) => (
          <tr key={rank} class={text === token.token ? "chosen" : ""}>
            <td>
              <code dir="auto">{visible(text)}</code>
            </td>
            <td>
              <meter min={0} max={1} value={Math.exp(logprob)} aria-hidden="true" /> {percent(logprob)}
            </td>
            <td>{Number.isFinite(logprob) ? logprob.toFixed(3) : "−∞"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
