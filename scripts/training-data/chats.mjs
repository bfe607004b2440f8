// Short chats. A topic gives turns: what the user says, and the answer. Which of its combinations are held out is decided by
// what they are about, never by chance: a sum that is asked in the test is in no line of the training data, in no wording.

import {
  animals,
  boys,
  colorOf,
  colors,
  days,
  foods,
  girls,
  heroAnimals,
  legs,
  months,
  numberWords,
  opposites,
  parts,
  plurals,
  rhymes,
  shapes,
  things,
  treats,
  truths,
} from "./lexicon.mjs";
import { expand, isHeldOut, polish } from "./random.mjs";
import { isGlue, makeStory } from "./stories.mjs";
import { notUnderstood, talk } from "./talk.mjs";

/**
 * A turn of a chat. `key` is what is held out or not; without one, it is trained whatever it says. `must` are words that a
 * right answer has, all of them; without them, it is right if it is this answer. `kind` is the topic, for results.
 */
function turn(user, answer, { key, must } = {}) {
  return { user, answer, ...(key === undefined ? {} : { key }), ...(must === undefined ? {} : { must }) };
}

const names = [...girls, ...boys];
/** To be repeated. */
const phrases = [
  "hello",
  "good morning",
  "hello {n}",
  "the {a} is {c}",
  "my {a} is {c}",
  "I like the {a}",
  "I have a {c} {a}",
  "{n} likes {c}",
  "good night {n}",
  "the sun is {c}",
];
/** A name or, often enough that names are copied and not known by heart, one that nobody has. */
const anyName = (random) => (random.chance(0.6) ? random.pick(names) : polish(inventWord(random)));
/** "zamiro", "grel": one to three syllables, mostly two, of sounds that make no bad words, but for these few. */
function inventWord(random) {
  const syllable = () => random.pick(onsets) + random.pick([..."aeiou"]);
  const word =
    Array.from({ length: random.pick([1, 2, 2, 2, 3]) }, syllable).join("") + random.pick(["", "n", "r", "l", "x"]);
  return /moron|talib|retar|^bra$|tata|titi/.test(word) ? inventWord(random) : word;
}
const onsets = "b d l m r t v z br dr gr kl".split(" ");
const ask = (random, wordings, slots = {}) => expand(random.pick(wordings), slots, random);
const entries = (object) => Object.entries(object);
const article = (word) => `${/^[aeiou]/.test(word) ? "an" : "a"} ${word}`;

/** Each gives one or more turns that belong together. */
export const topics = {
  ...Object.fromEntries(
    entries(talk).map(([name, exchanges]) => [
      name,
      (random) => {
        const [questions, answers] = random.pick(exchanges);
        const question = random.pick(questions);
        // the one wording that greets is enough to know it, of others some are asked that were never seen
        const key = name === "greeting" || name === "fun" ? {} : { key: ["talk", question] };
        return [turn(question, random.pick(answers), key)];
      },
    ]),
  ),
  sum: (random) => {
    const isPlus = random.chance(0.5);
    const most = random.pick([10, 20]);
    const [x, y] = [random.between(0, most), random.between(0, most)];
    const [a, b] = isPlus ? [Math.min(x, 20 - Math.min(y, 20)), y] : [Math.max(x, y), Math.min(x, y)];
    return [sumTurn(random, a, b, isPlus)];
  },
  sumStory: (random) => {
    const [a, b] = [random.between(2, 10), random.between(1, 10)];
    const isMore = random.chance(0.5);
    const [high, low] = [Math.max(a, b) + 2, Math.min(a, b)];
    const slots = {
      name: random.pick(names),
      treat: random.pick(treats),
      a: numberWords[isMore ? a : high],
      b: numberWords[isMore ? b : low],
    };
    const result = numberWords[isMore ? a + b : high - low];
    const wordings = isMore
      ? [
          "{name} has {a} {treat} and gets {b} more. how many {treat} does {name} have now?",
          "there are {a} {treat} in the bowl. {name} puts {b} more in. how many {treat} are there?",
        ]
      : [
          "{name} has {a} {treat} and eats {b}. how many {treat} are left?",
          "there are {a} {treat} in the bowl. {name} takes {b} away. how many {treat} are left?",
        ];
    const key = isMore ? ["plus", a, b] : ["minus", high, low];
    return [
      turn(
        ask(random, wordings, slots),
        ask(random, [isMore ? `there are ${result} {treat} now.` : `there are ${result} {treat} left.`], slots),
        { key, must: [result] },
      ),
    ];
  },
  compare: (random) => {
    const [a, b] = random.sample(
      Array.from({ length: 21 }, (_, i) => i),
      2,
    );
    const isMore = random.chance(0.6);
    const result = isMore ? Math.max(a, b) : Math.min(a, b);
    const question = isMore
      ? ["which is bigger, {a} or {b}?", "what is more, {a} or {b}?"]
      : ["which is smaller, {a} or {b}?", "what is less, {a} or {b}?"];
    return [
      turn(ask(random, question, { a, b }), `${result} is ${isMore ? "bigger" : "smaller"}.`, {
        key: ["compare", a, b],
        must: [String(result)],
      }),
    ];
  },
  next: (random) => {
    const isAfter = random.chance(0.6);
    const list = random.pick([days, months, numberWords]);
    const place = isAfter ? random.below(list.length - 1) : random.between(1, list.length - 1);
    const result = list[place + (isAfter ? 1 : -1)];
    const word = isAfter ? "after" : "before";
    const question =
      list === numberWords
        ? ["what comes {w} {x}?", "which number comes {w} {x}?"]
        : [
            "what comes {w} {x}?",
            list === days ? "[which|what] day comes {w} {x}?" : "[which|what] month comes {w} {x}?",
          ];
    return [
      turn(ask(random, question, { w: word, x: list[place] }), polish(`${result} comes ${word} ${list[place]}.`), {
        key: [word, list[place]],
        must: [result],
      }),
    ];
  },
  count: (random) => {
    const isDown = random.chance(0.25);
    const from = isDown ? random.between(3, 20) : random.chance(0.4) ? 1 : random.between(2, 15);
    const to = isDown ? Math.max(1, from - random.between(2, 10)) : Math.min(20, from + random.between(2, 10));
    const numbers = [];
    for (let n = from; isDown ? n >= to : n <= to; n += isDown ? -1 : 1) {
      numbers.push(numberWords[n]);
    }
    const question = isDown
      ? ["count down from {a} to {b}", "count backwards from {a} to {b}"]
      : ["count from {a} to {b}", "can you count from {a} to {b}?", ...(from === 1 ? ["count to {b}"] : [])];
    const key = ["count", from, to];
    const isDigits = random.chance(0.3);
    return [
      turn(
        ask(random, question, { a: isDigits ? from : numberWords[from], b: isDigits ? to : numberWords[to] }),
        polish(`${numbers.join(", ")}.`),
        { key },
      ),
    ];
  },
  opposite: (random) => {
    const [one, other] = random.pick(entries(opposites));
    const [a, b] = random.chance(0.5) ? [one, other] : [other, one];
    const wording = random.below(5);
    const questions = [
      "what is the opposite of {a}?",
      "say the opposite of {a}",
      "the opposite of {a}",
      "what is not {a}?",
      "give me the opposite: {a}",
    ];
    return [
      turn(ask(random, [questions[wording]], { a }), polish(`the opposite of ${a} is ${opposites[a] ?? b}.`), {
        key: ["opposite", wording, a],
        must: [opposites[a] ?? b],
      }),
    ];
  },
  color: (random) => {
    const [thing, color] = random.pick(entries(colorOf));
    const wording = random.below(4);
    const questions = [
      "what color is {x}?",
      "which color does {x} have?",
      "tell me the color of {x}",
      "what colour is {x}?",
    ];
    return [
      turn(ask(random, [questions[wording]], { x: thing }), polish(`${thing} is ${color}.`), {
        key: ["color", wording, thing],
        must: [color],
      }),
    ];
  },
  animal: (random) => {
    const [name, [sound, home, young, food]] = random.pick(entries(animals));
    const x = article(name);
    const [ask1, answer, must] = random.pick([
      [["what does {x} say?", "what sound does {x} make?", "how does {x} go?"], `The ${name} says ${sound}.`, sound],
      [["where does {x} live?", "where do you find {x}?"], `${x} lives ${home}.`, home],
      [
        ["what is a young {n} called?", "what do you call a baby {n}?"],
        `A young ${name} is called ${article(young)}.`,
        young,
      ],
      [["what does {x} eat?", "what does {x} like to eat?"], `${x} eats ${food}.`, food],
    ]);
    const wording = random.below(ask1.length);
    return [
      turn(ask(random, [ask1[wording]], { x, n: name }), polish(answer), { key: [ask1[wording], name], must: [must] }),
    ];
  },
  word: (random) =>
    [
      () => {
        const [one, many] = random.pick(entries(plurals));
        const wording = random.below(3);
        const questions = ["what is the plural of {x}?", "one {x}, two ...", "what is more than one {x}?"];
        return [
          turn(ask(random, [questions[wording]], { x: one }), polish(`one ${one}, two ${many}.`), {
            key: ["plural", wording, one],
            must: [many],
          }),
        ];
      },
      () => {
        const [word, all] = random.pick(entries(rhymes));
        const wording = random.below(3);
        const questions = ["what rhymes with {x}?", "tell me a word that rhymes with {x}", "find a rhyme for {x}"];
        return [
          turn(ask(random, [questions[wording]], { x: word }), polish(`${all[0]} rhymes with ${word}.`), {
            key: ["rhyme", wording, word],
            must: [all[0]],
          }),
        ];
      },
      () => {
        const word = random.pick([...things, ...Object.keys(animals), ...colors]);
        const letters = word.toUpperCase().split("").join(", ");
        return [
          turn(
            ask(random, ["spell {x}", "how do you spell {x}?", "please spell the word {x}"], { x: word }),
            `${letters}.`,
            { key: ["spell", word] },
          ),
        ];
      },
      () => {
        const word = random.pick([...things, ...Object.keys(animals), ...names]);
        const letter = word[0].toUpperCase();
        return [
          turn(
            ask(random, ["what is the first letter of {x}?", "which letter does {x} begin with?"], { x: word }),
            `The first letter is ${letter}.`,
            { key: ["letter", word], must: [letter] },
          ),
        ];
      },
    ][random.below(4)](),
  fact: (random) =>
    [
      () => {
        const [question, answer] = random.pick(truths);
        const asked = random.chance(0.3)
          ? `Tell me: ${question.charAt(0).toLowerCase()}${question.slice(1)}`
          : question;
        return [turn(asked, answer, { key: ["truth", asked], must: [answer.split(",")[0]] })];
      },
      () => {
        const kind = random.pick(Object.keys(foods));
        const food = random.pick(foods[kind]);
        const wording = random.below(2);
        const questions = ["is {x} a fruit or a vegetable?", "{x}: fruit or vegetable?"];
        return [
          turn(ask(random, [questions[wording]], { x: article(food) }), polish(`${article(food)} is a ${kind}.`), {
            key: ["food", wording, food],
            must: [kind],
          }),
        ];
      },
      () => {
        const [verb, part] = random.pick(entries(parts));
        return [
          turn(
            ask(random, ["what do we {x} with?", "what do people {x} with?"], { x: verb }),
            `We ${verb} with our ${part}.`,
            { must: [part] },
          ),
        ];
      },
      () => {
        const [shape, sides] = random.pick(entries(shapes));
        const noun = random.pick(["sides", "corners"]);
        return [
          turn(
            ask(random, ["how many {n} does {x} have?", "how many {n} has {x}?"], { x: article(shape), n: noun }),
            polish(`${article(shape)} has ${numberWords[sides]} ${noun}.`),
            { must: [numberWords[sides]] },
          ),
        ];
      },
      () => {
        const [name, count] = random.pick(entries(legs));
        const answer =
          count === 0 ? `${article(name)} has no legs.` : `${article(name)} has ${numberWords[count]} legs.`;
        return [
          turn(
            ask(random, ["how many legs does {x} have?", "how many legs has {x}?"], { x: article(name) }),
            polish(answer),
            { must: [count === 0 ? "no" : numberWords[count]] },
          ),
        ];
      },
    ][random.below(5)](),
  repeat: (random) => {
    const pool = random.pick([things, Object.keys(animals), colors, names, numberWords]);
    // some are long: a model that has to copy much learns early how to copy
    const count = random.chance(0.2) ? random.between(7, 16) : random.between(1, 6);
    const list = random.chance(0.4)
      ? Array.from({ length: Math.min(count, 5) }, () => inventWord(random))
      : random.sample(pool, count);
    const text = random.chance(0.2)
      ? ask(random, phrases, { a: random.pick(Object.keys(animals)), c: random.pick(colors), n: anyName(random) })
      : list.join(random.chance(0.5) ? ", " : " ");
    const questions = [
      "repeat after me: {x}",
      "say {x}",
      "repeat: {x}",
      "say: {x}",
      "please repeat: {x}",
      "say this again: {x}",
      "copy this: {x}",
    ];
    return [turn(ask(random, questions, { x: text }), polish(`${text}.`), { key: ["repeat", text] })];
  },
  times: (random) => {
    const word = random.pick([...things, ...Object.keys(animals), ...colors]);
    const count = random.between(2, 5);
    return [
      turn(
        ask(random, ["say {x} {n} times", "repeat the word {x} {n} times", "write {x} {n} times"], {
          x: word,
          n: numberWords[count],
        }),
        polish(`${Array(count).fill(word).join(", ")}.`),
        { key: ["times", word, count] },
      ),
    ];
  },
  places: (random) => {
    const list = random.sample(random.pick([things, Object.keys(animals), colors, names]), random.between(3, 5));
    const place = random.pick(["first", "last", "second", "third"]);
    const result = { first: list[0], second: list[1], third: list[2], last: list.at(-1) }[place];
    const text = list.join(", ");
    return [
      turn(
        ask(
          random,
          [`what is the ${place} word? {x}`, `which word is ${place}: {x}`, `{x}. what is the ${place} word?`],
          { x: text },
        ),
        `The ${place} word is ${result}.`,
        { key: ["place", place, text], must: [result] },
      ),
    ];
  },
  howMany: (random) => {
    const list = random.sample(random.pick([things, Object.keys(animals), colors, names]), random.between(2, 7));
    const text = list.join(", ");
    return [
      turn(
        ask(random, ["how many words are these: {x}", "count the words: {x}"], { x: text }),
        `There are ${numberWords[list.length]} words.`,
        { key: ["howMany", text], must: [numberWords[list.length]] },
      ),
    ];
  },
  list: (random) => {
    const [what, pool] = random.pick([
      ["animals", Object.keys(animals)],
      ["colors", colors],
      ["fruits", foods.fruit],
      ["vegetables", foods.vegetable],
      ["days", days],
      ["months", months],
      ["names", names],
      ["things", things],
    ]);
    const count = random.between(2, 5);
    const isSeries = what === "days" || what === "months";
    // in the order of the lexicon, so that the likeliest next word was not there before
    const shown = isSeries ? pool.slice(0, count) : inOrder(random.sample(pool, count), pool);
    const isLines = random.chance(0.4);
    const wordings = isLines
      ? ["write a list of {n} {x}", "make a list of {n} {x}", "write a list with {n} {x}", "a list of {n} {x}"]
      : ["list {n} {x}", "name {n} {x}", "tell me {n} {x}", "can you name {n} {x}?", "give me {n} {x}"];
    const answer = isLines ? shown.map((word, i) => `${i + 1}. ${word}`).join("\n") : polish(`${joinWords(shown)}.`);
    return [turn(ask(random, wordings, { n: random.chance(0.7) ? numberWords[count] : count, x: what }), answer)];
  },
  myName: (random) => {
    const name = anyName(random);
    const told = random.pick([
      "my name is {x}",
      "my name is {x}",
      "I am {x}",
      "I'm {x}",
      "hello, I am {x}",
      "you can call me {x}",
      "hi, my name is {x}",
      "hello, my name is {x}",
      "call me {x}",
    ]);
    const asked = random.pick([
      "what is my name?",
      "what is my name?",
      "what's my name?",
      "do you remember my name?",
      "who am I?",
      "do you know my name?",
      "say my name",
    ]);
    const key = ["name", name, told, asked];
    return [
      turn(expand(told, { x: name }, random), `Hello, ${name}! Nice to meet you.`, { key }),
      ...between(random),
      turn(polish(asked), `Your name is ${name}.`, { key, must: [name] }),
    ];
  },
  nobodyYet: (random) => {
    const question = random.pick([
      "what is my name?",
      "who am I?",
      "do you know my name?",
      "how old am I?",
      "where do I live?",
    ]);
    return [turn(question, "I do not know. You did not tell me.", { must: ["do not know"] })];
  },
  mine: (random) => {
    const [thing, color] = [random.pick(things), random.pick(colors)];
    const key = ["mine", thing, color];
    return [
      turn(
        ask(random, ["I have {y} {x}", "I got {y} {x} today", "this is my {z} {x}"], {
          x: thing,
          y: article(color),
          z: color,
        }),
        `That is nice! I like ${color} things.`,
        { key },
      ),
      ...between(random),
      random.chance(0.5)
        ? turn(
            ask(random, ["what color is my {x}?", "which color does my {x} have?"], { x: thing }),
            `Your ${thing} is ${color}.`,
            { key, must: [color] },
          )
        : turn(
            ask(random, ["what do I have?", "what did I tell you about?"]),
            polish(`you have ${article(color)} ${thing}.`),
            { key, must: [color, thing] },
          ),
    ];
  },
  likes: (random) => {
    const [what, list] = random.pick([
      ["animal", Object.keys(animals)],
      ["color", colors],
      ["fruit", foods.fruit],
    ]);
    const favorite = random.pick(list);
    const key = ["likes", what, favorite];
    return [
      turn(
        ask(random, ["my favorite {w} is {x}", "I like {x} best of all {w}s"], {
          w: what,
          x: what === "color" ? favorite : `the ${favorite}`,
        }),
        "I will remember that.",
        { key },
      ),
      ...between(random),
      turn(
        ask(random, ["what is my favorite {w}?", "which {w} do I like best?"], { w: what }),
        `Your favorite ${what} is ${what === "color" ? favorite : `the ${favorite}`}.`,
        { key, must: [favorite] },
      ),
    ];
  },
  whoHas: (random) => {
    const count = random.pick([1, 2, 2, 3, 3, 4]);
    const who = [...new Set(Array.from({ length: count }, () => anyName(random)))];
    const what = random.sample(things, who.length);
    const shades = who.map(() => random.pick(colors));
    const verb = random.pick(["has", "has", "found", "bought"]);
    const told = who.map((name, i) => `${name} ${verb} ${article(shades[i])} ${what[i]}.`).join(" ");
    const i = random.below(who.length);
    const key = ["whoHas", who[i], what[i]];
    const past = { has: "does {n} have", found: "did {n} find", bought: "did {n} buy" }[verb];
    const questions = [
      [[`what ${past}?`], `${who[i]} ${verb} ${article(shades[i])} ${what[i]}.`, [shades[i], what[i]]],
      [[`who ${verb} the {x}?`], `${who[i]} ${verb} the ${what[i]}.`, [who[i]]],
      [["what color is the {x}?"], `The ${what[i]} is ${shades[i]}.`, [shades[i]]],
    ];
    const [first, second] = random.sample(questions, 2);
    const slots = { n: who[i], x: what[i] };
    const isApart = random.chance(0.3);
    const turns = isApart
      ? [turn(told, "I see.", { key }), turn(ask(random, first[0], slots), first[1], { key, must: first[2] })]
      : [turn(`${told} ${ask(random, first[0], slots)}`, first[1], { key, must: first[2] })];
    return random.chance(0.4)
      ? [...turns, turn(ask(random, second[0], slots), second[1], { key, must: second[2] })]
      : turns;
  },
  where: (random) => {
    const spots = [
      "on the table",
      "in the box",
      "under the bed",
      "behind the door",
      "in the kitchen",
      "on the shelf",
      "in the garden",
      "under the chair",
    ];
    const [what, where] = [random.sample(things, 2), random.sample(spots, 2)];
    const i = random.below(2);
    const key = ["where", what[i], where[i]];
    const told = what.map((thing, k) => `The ${thing} is ${where[k]}.`).join(" ");
    return [
      turn(
        `${told} ${ask(random, ["where is the {x}?", "where can I find the {x}?"], { x: what[i] })}`,
        `The ${what[i]} is ${where[i]}.`,
        { key, must: [where[i]] },
      ),
    ];
  },
  moreOf: (random) => {
    const [a, b] = [anyName(random), random.pick(names)];
    if (a === b) {
      return topics.moreOf(random);
    }
    const pair = random.pick([
      ["taller", "tall"],
      ["older", "old"],
      ["faster", "fast"],
      ["stronger", "strong"],
    ]);
    const isFirst = random.chance(0.5);
    const key = ["moreOf", a, b];
    const result = isFirst ? a : b;
    const question = isFirst ? `who is ${pair[0]}?` : `who is less ${pair[1]}?`;
    return [
      turn(
        polish(`${a} is ${pair[0]} than ${b}. ${question}`),
        isFirst ? `${result} is ${pair[0]}.` : `${result} is less ${pair[1]}.`,
        { key, must: [result] },
      ),
    ];
  },
  unknown: (random) => {
    const person = `${random.pick(names)} ${random.pick(["Miller", "Smith", "Brown", "Baker", "Hill", "Green", "Stone", "Wood", "Young", "Field"])}`;
    const slots = {
      c: random.pick(countries),
      n: random.between(30, 999),
      m: random.between(30, 999),
      p: person,
      t: random.pick(subjects),
      w: inventWord(random),
      l: random.pick(["French", "German", "Spanish", "Latin", "Chinese", "Italian"]),
      q: random.pick(quantities),
      job: random.pick(["president", "king", "queen", "leader"]),
      year: random.between(1200, 2030),
    };
    const questions = random.pick([
      [
        "what is the {q} of {c}?",
        "what is the {q} of {c}?",
        "can you tell me the {q} of {c}?",
        "tell me the {q} of {c}",
      ],
      ["what is {t}?", "explain {t}", "tell me about {t}", "how does {t} work?", "what do you know about {t}?"],
      [
        "who is {p}?",
        "when was {p} born?",
        "what did {p} say yesterday?",
        "where does {p} live?",
        "who is the {job} of {c}?",
      ],
      [
        "what is {n} times {m}?",
        "how much is {n} times {m}?",
        "what is {n} plus {m}?",
        "what is the square root of {n}?",
      ],
      ["translate this into {l}", "how do you say hello in {l}?", "what is a {w}?", "what does {w} mean?"],
      [
        "what happened in {year}?",
        "who won the cup in {year}?",
        "what is the time?",
        "what time is it?",
        "what day is today?",
      ],
      [
        "how do I fix my computer?",
        "which book should I read?",
        "write a program for me",
        "what is the weather tomorrow?",
      ],
      [
        "who is the president?",
        "is it raining?",
        "how old is {p}?",
        "what is the news?",
        "what should I do today?",
        "what is the meaning of life?",
        "write an essay about {t}",
        "who wrote this book?",
        "where is {c}?",
        "how is the weather in {c}?",
      ],
    ]);
    const question = ask(random, questions, slots);
    return [turn(question, random.pick(unknownAnswers), { key: ["unknown", question], must: ["do not know"] })];
  },
  define: (random) => {
    const wording = random.below(3);
    const [word, answer, must] = random.pick([
      () => {
        const [name, [sound, home]] = random.pick(entries(animals));
        return [article(name), `${article(name)} is an animal. it says ${sound} and lives ${home}.`, "animal"];
      },
      () => {
        const kind = random.pick(Object.keys(foods));
        const food = random.pick(foods[kind]);
        return [article(food), `${article(food)} is a ${kind}.`, kind];
      },
      () => {
        const day = random.pick(days);
        return [day, `${day} is a day of the week.`, "day"];
      },
      () => {
        const month = random.pick(months);
        return [month, `${month} is a month.`, "month"];
      },
      () => {
        const color = random.pick(colors);
        return [color, `${color} is a color.`, "color"];
      },
      () => {
        const [shape, sides] = random.pick(entries(shapes));
        return [article(shape), `${article(shape)} is a shape with ${numberWords[sides]} sides.`, "shape"];
      },
    ])();
    const question = [`what is ${word}?`, `tell me what ${word} is`, `do you know what ${word} is?`][wording];
    return [turn(question, polish(answer), { key: ["define", wording, word], must: [must] })];
  },
  category: (random) => {
    const groups = [
      ["an animal", Object.keys(animals).map(article)],
      ["a fruit", foods.fruit.map(article)],
      ["a vegetable", foods.vegetable.map(article)],
      ["a color", colors.filter((color) => color !== "orange")],
      ["a day", days],
      ["a month", months],
    ];
    const [i, j] = random.sample([0, 1, 2, 3, 4, 5], 2);
    const isSame = random.chance(0.5);
    const word = random.pick(groups[i][1]);
    const asked = groups[isSame ? i : j][0];
    const answer = isSame ? `Yes, ${word} is ${asked}.` : `No, ${word} is not ${asked}. It is ${groups[i][0]}.`;
    return [turn(`is ${word} ${asked}?`, answer, { key: ["category", word, asked], must: [isSame ? "yes" : "no"] })];
  },
  doYouLike: (random) => {
    const many = (word) => `${word}s`;
    const animal = random.pick(Object.keys(animals).filter((name) => !/mouse|wolf|sheep/.test(name)));
    const [x, answer] = random.pick([
      [many(animal), `Yes, I like ${many(animal)}.`],
      [random.pick(treats), "I do not eat, but I like to talk about food."],
      [random.pick(colors), undefined],
      [
        random.pick(["pizza", "cake", "bread", "soup", "milk", "ice cream"]),
        "I do not eat, but I like to talk about food.",
      ],
      [random.pick(["stories", "music", "books", "games", "school", "snow", "rain"]), undefined],
    ]);
    return [turn(`do you like ${x}?`, answer ?? `Yes, I like ${x}.`, { key: ["doYouLike", x] })];
  },
  nonsense: (random) => {
    const word = random.chance(0.3)
      ? random.sample([..."sdfgjklqwrtpxcv"], random.between(3, 7)).join("")
      : Array.from({ length: random.between(1, 3) }, () => inventWord(random)).join(" ");
    return [turn(word, notUnderstood)];
  },
  unknownHere: (random) => {
    const [a, b] = random.sample(names, 2);
    const [x, y] = random.sample(things, 2);
    const key = ["unknownHere", a, x];
    return [
      turn(
        polish(
          `${a} has a ${x}. ${random.pick([`what does ${b} have?`, `who has the ${y}?`, `where is ${a}?`, `how old is ${a}?`])}`,
        ),
        "I do not know. You did not tell me.",
        { key, must: ["do not know"] },
      ),
    ];
  },
};

const countries = (
  "France Japan Brazil Canada Kenya Norway Peru India Egypt Poland Germany Italy Spain China Russia Mexico Sweden Greece Turkey " +
  "Chile Cuba Ghana Iran Iraq Ireland Austria Finland Denmark Portugal Hungary Thailand Vietnam Korea Nepal England Scotland"
).split(" ");
const subjects = (
  "physics,gravity,the internet,democracy,bitcoin,chemistry,electricity,evolution,history,the stock market,a black hole,an atom," +
  "philosophy,the law,a computer,a rocket,football,machine learning,climate change,the economy,money,art,biology,a vaccine,the brain," +
  "quantum physics,an engine,a satellite,the moon landing,the war,politics,medicine,a virus,the universe,Python,Linux,a database"
).split(",");
const quantities = [
  "capital",
  "capital",
  "population",
  "president",
  "language",
  "flag",
  "tallest mountain",
  "money",
  "history",
  "size",
];
const unknownAnswers = [
  "I do not know that. I am a very small model.",
  "I do not know. I can only answer simple questions.",
];

/** Something else between what is told and what is asked. */
function between(random) {
  const topic = random.pick([undefined, undefined, "sum", "opposite", "color", "animal", "thanks", "fact", "repeat"]);
  return topic === undefined ? [] : topics[topic](random);
}

function sumTurn(random, a, b, isPlus) {
  const result = isPlus ? a + b : a - b;
  const isWords = random.chance(0.3);
  const say = (n) => (isWords ? numberWords[n] : String(n));
  const sign = isPlus ? "plus" : "minus";
  const questions = isWords
    ? ["what is {a} {s} {b}?", "how much is {a} {s} {b}?", "{a} {s} {b}"]
    : [
        "what is {a} {s} {b}?",
        "what is {a} {t} {b}?",
        "how much is {a} {t} {b}?",
        "{a} {t} {b}",
        "{a}{t}{b}",
        "what is {a}{t}{b}?",
        "{a} {t} {b} =",
        "can you add {a} and {b}?",
      ];
  const usable = isPlus ? questions : questions.filter((question) => !question.includes("add"));
  const slots = { a: say(a), b: say(b), s: sign, t: isPlus ? "+" : "-" };
  return turn(ask(random, usable, slots), polish(`${say(a)} ${sign} ${say(b)} is ${say(result)}.`), {
    key: [sign, a, b],
    must: [`is ${say(result)}`],
  });
}

function inOrder(words, pool) {
  return words.sort((a, b) => pool.indexOf(a) - pool.indexOf(b));
}

function joinWords(list) {
  return `${list.slice(0, -1).join(", ")} and ${list.at(-1)}`;
}

const wishes = [
  "tell me a story",
  "tell me a story",
  "tell me a short story",
  "write a story",
  "write a short story",
  "tell me another story",
  "please tell me a story",
  "can you tell me a story?",
  "I want to hear a story",
  "tell me {w}",
  "a story, please",
  "I would like to hear {w}",
];
const about = [
  "tell me a story about {k}",
  "can you tell me a story about {k}?",
  "please tell me a story about {k}",
  "I want a story about {k}",
  "write a story about {k}",
  "write a short story about {k}",
  "a story about {k}, please",
];

/** A story that was asked for, and questions about it. */
function storyTurns(random, wantsHeldOut) {
  const style = random.next();
  if (style < 0.1) {
    return continuedTurns(random, wantsHeldOut);
  }
  if (style < 0.15) {
    return offeredTurns(random, wantsHeldOut);
  }
  const kind = style < 0.7 ? random.pick([...heroAnimals, "girl", "boy"]) : undefined;
  const name = kind !== undefined && random.chance(0.25) ? anyName(random) : undefined;
  const story = makeStory(random, wantsHeldOut, { kind, name });
  if (story === undefined) {
    return undefined;
  }
  const called = name === undefined ? "" : ` ${random.pick(["named", "called"])} ${name}`;
  const asked =
    kind === undefined
      ? ask(random, wishes, { w: story.wish })
      : ask(random, about, { k: `${article(kind)}${called}` });
  return [turn(asked, story.text), ...questionTurns(random, story, wantsHeldOut)];
}

/** A story that was offered, or not wanted. */
function offeredTurns(random, wantsHeldOut) {
  const story = makeStory(random, wantsHeldOut);
  const [questions, [offer]] = random.pick(talk.mood.filter(([, [answer]]) => answer.includes("hear a story?")));
  const first = turn(random.pick(questions), offer);
  if (random.chance(0.2)) {
    return [first, turn(random.pick(["no", "no, thanks", "no, thank you"]), "All right.")];
  }
  const agreed = random.pick(["yes", "yes, please", "please", "ok", "yes, tell me a story"]);
  return story && [first, turn(agreed, story.text), ...questionTurns(random, story, wantsHeldOut)];
}

/** A story of which the user says how it begins. */
function continuedTurns(random, wantsHeldOut) {
  const story = makeStory(random, wantsHeldOut);
  if (!story?.text.startsWith("Once upon a time")) {
    return undefined;
  }
  const asked = random.pick([
    "Once upon a time",
    "Once upon a time...",
    "Once upon a time, there was",
    "once upon a time",
  ]);
  return [turn(asked, story.text), ...questionTurns(random, story, wantsHeldOut)];
}

/** A story that the user tells, with the question behind it, and more questions. */
function readingTurns(random, wantsHeldOut) {
  const story = makeStory(random, wantsHeldOut);
  const [first, ...more] = story === undefined ? [] : questionTurns(random, story, wantsHeldOut);
  if (first === undefined) {
    return undefined;
  }
  return [{ ...first, user: `${story.text} ${first.user}` }, ...more];
}

function questionTurns(random, { facts, hero }, isHeld) {
  const chosen = random.sample(facts, random.between(isHeld ? 1 : 0, Math.min(3, facts.length)));
  return chosen.map(({ questions, answer }) => {
    const question = random.pick(questions);
    const must = answer.match(/[A-Za-z]+/g).filter((word) => !isGlue(word) && !question.includes(word));
    return {
      ...turn(random.chance(0.3) ? question.replace("color", "colour") : question, answer, { must }),
      story: hero,
    };
  });
}

/** How people write: without capitals, without the mark at the end, with "please". */
function asTyped(random, text) {
  const style = random.next();
  if (style < 0.25 && text.length < 80) {
    return text.toLowerCase().replace(/[.?]$/, "");
  }
  return style < 0.35 ? text : /[.?!:=]$|\d$/.test(text) ? polish(text) : `${polish(text)}${style < 0.7 ? "." : ""}`;
}

const weights = {
  greeting: 1.5,
  howAreYou: 0.5,
  thanks: 0.5,
  goodbye: 0.5,
  mood: 0.5,
  fun: 0.5,
  identity: 1.5,
  self: 2,
  ternary: 1.5,
  bitnet: 1,
  sum: 14,
  sumStory: 2,
  count: 1.5,
  opposite: 1.5,
  list: 1.5,
  repeat: 4,
  times: 1.5,
  places: 0.5,
  howMany: 0.5,
  moreOf: 0.5,
  nobodyYet: 0.5,
  whoHas: 3,
  myName: 4,
  mine: 2,
  likes: 1.5,
  unknown: 3,
};
const bag = Object.keys(topics).flatMap((name) => Array(Math.round(2 * (weights[name] ?? 1))).fill(name));

const systems = [
  "You are a helpful assistant.",
  "You are a friendly assistant.",
  "You are a tiny BitNet model.",
  "Answer in short sentences.",
  "You are a kind storyteller.",
];

const isHeldTurn = ({ key }) => key !== undefined && isHeldOut(...key);

/** A chat of several topics, in which nothing is held out; undefined if something was. */
export function makeChat(random) {
  const kind = random.next();
  const turns = kind < 0.2 ? storyTurns(random, false) : kind < 0.35 ? readingTurns(random, false) : [];
  if (turns === undefined) {
    return undefined;
  }
  const all = [...(random.chance(0.08) ? topics.greeting(random) : []), ...turns];
  const told = new Set();
  for (let left = topicsLeft(random, turns.length > 0); left > 0; left--) {
    const topic = random.pick(bag);
    // a name that was told is known
    if (topic !== "nobodyYet" || !told.has("myName")) {
      all.push(...topics[topic](random));
      told.add(topic);
    }
  }
  if (all.length === 0 || all.some(isHeldTurn)) {
    return undefined;
  }
  const system = random.chance(0.08) ? [{ role: "system", content: random.pick(systems) }] : [];
  return [...system, ...toMessages(random, all)];
}

/** How many topics a chat has, beside a story. Some chats are long, so that late positions are trained. */
function topicsLeft(random, hasStory) {
  const isLong = random.chance(0.12);
  if (hasStory) {
    return isLong ? random.between(3, 7) : random.between(0, 2);
  }
  return isLong ? random.between(7, 13) : random.between(1, 6);
}

/** A chat whose last answer is of a combination that is held out, with what makes that answer right. */
export function makeTest(random) {
  const name = random.pick([...Object.keys(topics), "story", "reading"]);
  const turns =
    name === "story"
      ? storyTurns(random, true)
      : name === "reading"
        ? readingTurns(random, true)
        : topics[name](random);
  const last = turns?.at(-1);
  const isTest = last !== undefined && (last.story !== undefined || isHeldTurn(last));
  if (!isTest || (last.must === undefined && last.key === undefined)) {
    return undefined;
  }
  const messages = toMessages(random, turns);
  return { kind: name, messages: messages.slice(0, -1), answer: last.answer, must: last.must ?? [last.answer] };
}

function toMessages(random, turns) {
  return turns.flatMap(({ user, answer }) => [
    { role: "user", content: asTyped(random, user) },
    { role: "assistant", content: answer },
  ]);
}
