// Short stories. An arc is a list of beats, each of which can be told in several ways; who is in it, and with what, is chosen
// once and stays the same to the end. What can be asked about a story is known beside its text.

import {
  animalNames,
  boys,
  colors,
  feelings,
  girls,
  heroAnimals,
  places,
  sizes,
  things,
  traits,
  treats,
  weathers,
} from "./lexicon.mjs";
import { expand, isHeldOut } from "./random.mjs";

const pronouns = {
  girl: { he: "she", him: "her", his: "her" },
  boy: { he: "he", him: "him", his: "his" },
};

function person(random, used) {
  const isGirl = random.chance(0.5);
  const name = random.pick((isGirl ? girls : boys).filter((candidate) => !used.includes(candidate)));
  return { name, kind: isGirl ? "girl" : "boy", ...pronouns[isGirl ? "girl" : "boy"] };
}

function animal(random, used) {
  const name = random.pick(animalNames.filter((candidate) => !used.includes(candidate)));
  return { name, kind: random.pick(heroAnimals), ...pronouns[random.chance(0.5) ? "girl" : "boy"] };
}

const elders = [
  ["{his} grandmother", "her"],
  ["{his} grandfather", "him"],
  ["{his} mother", "her"],
  ["{his} father", "him"],
  ["{his} aunt", "her"],
  ["{his} uncle", "him"],
];
const strangers = [
  "an old farmer",
  "a baker",
  "a fisherman",
  "a gardener",
  "a postman",
  "an old woman",
  "a shepherd",
  "a miller",
];

const openings = [
  "[once upon a time|one day|long ago], there was {a_kind} [called|named] {hero}. {he} was [very|always|so] {trait}.",
  "{hero} was a {trait} {kind} who [lived near|often went to|loved] {place}.",
  "there [once was|was once] a {trait} {kind} [called|named] {hero}.",
  "in a little house near {place} lived {a_kind} [called|named] {hero}. everyone said that {he} was {trait}.",
  "{hero} the {kind} woke up early. it was a {weather} day[.|, and {he} felt {trait}.]",
  "this is a story about {hero}, a {trait} {kind}.",
  "not far from {place} there lived a {trait} {kind}. {his} name was {hero}.",
];
const endings = [
  "{hero} was very happy that day.",
  "{hero} went home and slept well. the end.",
  "from that day on, {hero} and {friend} were best friends.",
  "that evening, {hero} told everyone at home about it.",
  "{hero} never forgot that day.",
  "and {hero} smiled all the way home.",
  "it was a good day for {hero} and {friend}.",
  "{hero} and {friend} laughed together. the end.",
];

/** What can be said anywhere in between; it changes nothing of what happens. */
const asides = [
  "the birds were singing.",
  "{hero} hummed a little song.",
  "the wind [blew softly|was warm|played with the leaves].",
  "a [yellow|white|blue|brown] butterfly flew by.",
  "somewhere a [dog barked|bell rang|door opened].",
  "{hero} took a deep breath.",
  "the [sun was high|clouds looked like sheep|sky was clear].",
  "{hero} felt {feeling} for a moment.",
  "everything was [quiet|still].",
  "it smelled of [grass|flowers|rain|fresh bread].",
  "{hero} thought of {elder}.",
  '"what a {weather} day," said {hero}.',
  "far away, somebody was [singing|laughing|calling].",
  "a {size} {extra} [looked on|ran past|sat there and slept].",
  "{hero} counted to [three|five|ten].",
  "{hero} looked [up|around|back] and smiled.",
  "[nobody else was there|there was no one else around].",
  "{hero} had never seen such a {weather} day.",
  "{hero}'s heart beat [fast|faster and faster].",
  "{hero} did not give up.",
  "{hero} liked [this kind of day|days like this].",
  "{hero} walked [slowly|quickly|on].",
  "the time went by.",
  "[soon|a little later] it was [noon|evening|time to eat].",
];

/** `facts` are questions, each in several wordings, and their answers. */
const arcs = [
  {
    name: "lost",
    wish: "a story about something lost",
    beats: [
      [
        "{hero} had a {color} {thing} that {he} loved[.| more than anything.]",
        "the thing {hero} liked best was a {color} {thing}.",
      ],
      [
        "one {weather} morning, {hero} took it to {place}. [but on the way home, it was gone.|but when {he} looked again, the {thing} was gone.]",
        "one {weather} day {he} went to {place} and lost the {thing}.",
      ],
      [
        '{hero} looked [here and there|everywhere], but {he} could not find it. "where is my {thing}?" {he} cried.',
        '{hero} was sad. "I have lost my {color} {thing}," {he} said.',
      ],
      [
        '{friend} the {fkind} came by. "do not worry," said {friend}. "I will help you."',
        'then {he} met {friend}, a {ftrait} {fkind}. "let us look for it together," said {friend}.',
      ],
      [
        "[they looked and looked. at last|after a long time] {friend} saw something {color} {spot}. it was the {thing}!",
        '"look there!" said {friend}. the {color} {thing} lay {spot}.',
      ],
      [
        '"thank you, {friend}!" said {hero}, and [hugged {fhim}|gave {fhim} a big hug].',
        '{hero} jumped for joy. "you are a good friend, {friend}," {he} said.',
      ],
    ],
    facts: ({ c }) => [
      [["What did {hero} lose?", "What was lost?"], `{hero} lost a ${c.color} ${c.thing}.`],
      [["What color was the {thing}?"], `The ${c.thing} was ${c.color}.`],
      [["Who helped {hero}?", "Who found the {thing}?"], "{friend} helped {hero}."],
      [["Where was the {thing}?"], `The ${c.thing} was ${c.spot}.`],
    ],
  },
  {
    name: "gift",
    wish: "a story about a present",
    beats: [
      [
        "it was the birthday of {friend}, {his} best friend.",
        "soon it would be {friend}'s birthday. {friend} was {hero}'s best friend.",
      ],
      [
        '"what can I give to {friend}?" {hero} [thought|asked]. {he} [had no money|did not know].',
        "{hero} wanted to give {fhim} something special.",
      ],
      [
        "{he} went to {place} and looked around. {spot}, {he} found a {color} {thing}.",
        "so {hero} went to {place}. there {he} found a {size} {color} {thing} {spot}.",
      ],
      [
        "{hero} [cleaned it|washed it] until it [was bright|shone], and put it in a box.",
        "{he} put it into {a_color2} bag with a bow on top.",
      ],
      [
        '"happy birthday!" said {hero}. {friend} opened it. "a {thing}! I have always wanted one," said {friend}.',
        'when {friend} saw the {color} {thing}, {fhe} smiled. "this is the best present of all," {fhe} said.',
      ],
      ["then they ate {treats} and played until it was dark.", "they had {treats} and sang a song together."],
    ],
    facts: ({ c }) => [
      [["What did {hero} give to {friend}?", "What was the present?"], `{hero} gave {friend} a ${c.color} ${c.thing}.`],
      [["Whose birthday was it?", "Who had a birthday?"], "It was {friend}'s birthday."],
      [["What did they eat?"], `They ate ${c.treats}.`],
      [["Where did {hero} go?"], `{hero} went to ${c.place}.`],
    ],
  },
  {
    name: "helping",
    wish: "a story about helping",
    beats: [
      ["on a {weather} day, {hero} walked to {place}.", "one day, {hero} was on the way to {place}."],
      [
        "there {he} saw {stranger} with a heavy basket of {treats}. [nobody helped.|it was too heavy to carry.]",
        "{he} met {stranger} who had to carry a big basket of {treats} all alone.",
      ],
      [
        '"let me help you," said {hero}. [together they|they] carried the basket up the path.',
        '{hero} stopped. "I can help," {he} said, and took one side of the basket.',
      ],
      [
        "it was hard work[, but {hero} did not stop|, and {hero} got tired]. then {friend} the {fkind} came and helped, too.",
        "{friend} the {fkind} saw them and took the other side.",
      ],
      [
        '"you are so kind," said the stranger, and gave them some {treats}.',
        "at the end of the path they all sat down and ate {treats}.",
      ],
    ],
    facts: ({ c }) => [
      [["Who had the heavy basket?", "Whom did {hero} help?"], `${cap(c.stranger)} had the heavy basket.`],
      [["What was in the basket?"], `There were ${c.treats} in the basket.`],
      [["Who helped, too?", "Who came and helped {hero}?"], "{friend} helped, too."],
      [["Where did {hero} go?"], `{hero} went to ${c.place}.`],
    ],
  },
  {
    name: "box",
    wish: "a story about a secret",
    beats: [
      [
        "one {weather} afternoon, {hero} played {at_place} with {friend} the {fkind}.",
        "{hero} and {friend}, a {ftrait} {fkind}, went to {place}.",
      ],
      [
        "{spot}, they found a {size} {color} box. it was closed.",
        '"what is that?" asked {friend}. {spot} stood a {color} box.',
      ],
      [
        "{hero} was a little afraid, but {friend} [was not|wanted to know more]. [slowly|very slowly], they opened it.",
        '"let us open it," said {hero}. {friend} held {his} hand.',
      ],
      [
        'in the box was a {thing}, and a letter. the letter said: "this is for whoever finds it."',
        "and what was inside? a {color2} {thing}, as good as new!",
      ],
      [
        '"we can share it," said {hero}. so each of them had the {thing} for one day.',
        "{hero} and {friend} took the {thing} home and played with it every day.",
      ],
    ],
    facts: ({ c }) => [
      [["What did they find?", "What did {hero} and {friend} find?"], `They found a ${c.color} box.`],
      [["What was in the box?"], `There was a ${c.thing} in the box.`],
      [["Who was with {hero}?"], "{friend} was with {hero}."],
      [["What color was the box?"], `The box was ${c.color}.`],
    ],
  },
  {
    name: "dark",
    wish: "a story about being brave",
    beats: [
      ["{hero} was afraid of the dark.", "there was one thing that {hero} did not like: the dark."],
      [
        "one night, {he} heard a sound at the window. tap, tap, tap.",
        "one [dark|cold|warm|quiet] night, something went tap, tap, tap.",
      ],
      ['"who is there?" {he} whispered. nobody answered.', "{hero} pulled the {color} blanket over {his} head."],
      [
        "then {he} was brave. {he} took {his} {thing} and went to the window.",
        '"I am not afraid," {he} said to {his} {thing}, and opened the window.',
      ],
      [
        "it was only {friend} the {fkind}! {fhe} could not sleep.",
        "and there sat {friend}, a {size} {fkind}, who had lost the way home.",
      ],
      [
        "they talked until the moon was high, and the dark was not so bad.",
        "{hero} let {fhim} in. together they were not afraid at all.",
      ],
    ],
    facts: ({ c }) => [
      [["What was {hero} afraid of?"], "{hero} was afraid of the dark."],
      [["Who was at the window?", "Who made the sound?"], "{friend} was at the window."],
      [["What did {hero} take to the window?", "What did {hero} have in {his} hand?"], `{hero} had a ${c.thing}.`],
    ],
  },
  {
    name: "seed",
    isOutdoors: true,
    wish: "a story about a garden",
    beats: [
      ["one day {elder} gave {hero} a {size} seed.", "{elder} had a present for {hero}: a {size} seed."],
      [
        "{he} put it into the ground {spot} {at_place}[ and gave it water.|. every day {he} gave it water.]",
        "{hero} found a good place for it {spot}, and gave it water every day.",
      ],
      [
        "[two|three|five|ten] days went by, and nothing came. {hero} was sad.",
        '"why does it not grow?" {hero} asked. {he} waited and waited.',
      ],
      [
        '"you have to wait," said {friend} the {fkind}. "good things take time."',
        "{friend} the {fkind} sang to the seed, and {hero} sang, too.",
      ],
      [
        "then one {weather} morning there was a green leaf! soon there was a {color} flower.",
        "at last it grew, and grew, until there was a big {color} flower.",
      ],
      ["{hero} gave the first flower to {friend}.", "all who came by stopped and looked at the {color} flower."],
    ],
    facts: ({ c }) => [
      [["What did {hero} get?", "What did {hero} plant?"], `{hero} got a ${c.size} seed.`],
      [["What color was the flower?"], `The flower was ${c.color}.`],
      [["Who told {hero} to wait?", "Who was {hero}'s friend?"], "It was {friend}."],
      [["Who gave {hero} the seed?"], `${cap(c.elder)} gave {hero} the seed.`],
    ],
  },
  {
    name: "learning",
    wish: "a story about learning something",
    beats: [
      [
        "{hero} wanted to {skill}. {friend} the {fkind} could do it so well.",
        "all the others could {skill}, {friend} the {fkind} best of all, but {hero} could not.",
      ],
      [
        '"I will never learn it," said {hero}. {he} sat down {spot} and was sad.',
        "{he} tried once, and it went wrong. {he} tried again, and it went wrong again.",
      ],
      [
        '"I can show you," said {friend}. "you only have to try a little every day."',
        '{friend}, a {ftrait} {fkind}, came to {place}. "I needed a long time, too," said {friend}.',
      ],
      [
        "so they met {at_place} every day, when it was {weather} and when it was not.",
        "every morning they went to {place}. {hero} fell down, got up, and tried again.",
      ],
      [
        "and one day {hero} could {skill}!",
        'then, on a {weather} day, it worked. "look, {friend}, I can {skill}!" cried {hero}.',
      ],
      [
        "{elder} gave {him} a {color} {thing}, because {he} had worked so hard.",
        "{friend} was so proud that {fhe} gave {hero} a {color} {thing}.",
      ],
    ],
    facts: ({ c }) => [
      [["What did {hero} want to do?", "What did {hero} learn?"], `{hero} wanted to ${c.skill}.`],
      [["Who helped {hero}?"], "{friend} helped {hero}."],
      [["What did {hero} get?"], `{hero} got a ${c.color} ${c.thing}.`],
      [["Where did they meet?"], `They met ${c.at_place}.`],
    ],
  },
  {
    name: "sharing",
    wish: "a story about sharing",
    beats: [
      ["{hero} had {number} {treats} in a {color} basket.", "{elder} had given {hero} {number} {treats} for the day."],
      ["{he} went to {place} to eat them alone.", '"they are all for me," {he} thought, and sat down {spot}.'],
      [
        "then {friend} came by, a {size} {fkind}. {fhe} [had not eaten all day|was hungry] and looked at the {treats}.",
        "there sat {friend}, a {ftrait} {fkind}, who had nothing to eat.",
      ],
      ["first {hero} looked away. but then {he} felt bad.", "{hero} thought about it. it is no fun to eat alone."],
      [
        '"here, take some of my {treats}," said {hero}. {friend} was so glad!',
        '"would you like some?" asked {hero}. "yes, please," said {friend}.',
      ],
      [
        "they ate together, and everything tasted better.",
        "the next day, {friend} came back with a {color2} {thing} for {hero}.",
      ],
    ],
    facts: ({ c }) => [
      [["What did {hero} have?", "What was in the basket?"], `{hero} had ${c.number} ${c.treats}.`],
      [["How many {treats} did {hero} have?"], `{hero} had ${c.number} ${c.treats}.`],
      [["Who was hungry?", "With whom did {hero} share?"], "{friend} was hungry."],
    ],
  },
  {
    name: "broken",
    wish: "a story about saying sorry",
    beats: [
      [
        "{friend} the {fkind} had a {color} {thing}. {fhe} let {hero} play with it {at_place}.",
        "one {weather} day {hero} played with the {color} {thing} of {friend}, a {ftrait} {fkind}.",
      ],
      ["but {hero} was not careful, and the {thing} broke.", "then {hero} fell, and the {thing} broke."],
      ["{he} hid it {spot} and said nothing.", "{hero} did not want to tell {friend}. {he} put it {spot}."],
      [
        "that night, {hero} could not sleep. {he} thought about it all the time.",
        'at home, {elder} asked: "what is wrong?" and {hero} told everything.',
      ],
      [
        '"I broke your {thing}," {he} told {friend}. "I am sorry."',
        'the next morning {he} went to {friend}. "I am so sorry," {he} said.',
      ],
      [
        '"I am glad that you told me," said {friend}. together they fixed it with {a_color2} ribbon.',
        "{friend} was not angry. they made the {thing} whole again, and it was even better than before.",
      ],
    ],
    facts: ({ c }) => [
      [["What broke?", "What did {hero} break?"], `The ${c.color} ${c.thing} broke.`],
      [["Whose {thing} was it?"], `It was {friend}'s ${c.thing}.`],
      [["Where did {hero} hide it?", "Where was the {thing}?"], `It was ${c.spot}.`],
    ],
  },
  {
    name: "stuck",
    wish: "a story about a rescue",
    beats: [
      [
        "it was a {weather} day {at_place}. {hero} heard someone call for help.",
        '"help, help!" called somebody, when {hero} walked through {place}.',
      ],
      [
        "it was {friend}, a {size} {fkind}. {fhe} was stuck {spot}.",
        "{spot} sat {friend} the {fkind} and could not get out.",
      ],
      [
        "{hero} pulled as hard as {he} could, but it did not work.",
        '"do not be afraid," said {hero}. "I am here." but {he} was not strong enough.',
      ],
      [
        "then {he} had an idea. {he} ran home and got a {color} {thing}.",
        "{he} thought for a while. then {he} took {his} {color} {thing}.",
      ],
      [
        "with the {thing}, it was easy. {friend} was free!",
        "{friend} held on to the {thing}, {hero} pulled, and out {fhe} came!",
      ],
      [
        '"you saved me," said {friend}. "how can I thank you?" "be my friend," said {hero}.',
        "{friend} danced for joy, and {hero} danced, too.",
      ],
    ],
    facts: ({ c }) => [
      [["Who was stuck?", "Who called for help?"], "{friend} was stuck."],
      [["What did {hero} get?", "What did {hero} use?"], `{hero} got a ${c.color} ${c.thing}.`],
      [["Where was {friend}?"], `{friend} was ${c.spot}.`],
    ],
  },
];

const outdoors = places.slice(0, 13);
const skills = [
  "swim",
  "ride a bike",
  "climb a tree",
  "whistle",
  "skate",
  "dance",
  "read",
  "play the flute",
  "bake bread",
  "jump over the stream",
  "row a boat",
  "sing",
];

function cap(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A story, or undefined if its combination is held out and `wantsHeldOut` does not ask for it (and the other way round). */
export function makeStory(random, wantsHeldOut, wanted = {}) {
  const c = chooseParts(random, wanted);
  if (isHeldOut(c.arc.name, c.hero, c.thing) !== wantsHeldOut) {
    return undefined;
  }
  const write = (template) => expand(template, c, random);
  const told = [random.pick(openings), ...c.arc.beats.map((beat) => random.pick(beat))].map(write);
  const fits = (ending) => !ending.includes("{friend}") || told.some((sentence) => sentence.includes(c.friend));
  const all = random.chance(0.7) ? [...told, write(random.pick(endings.filter(fits)))] : told;
  for (let left = random.below(4); left > 0; left--) {
    all.splice(random.between(1, told.length - 1), 0, write(random.pick(asides)));
  }
  const paragraphs = random.chance(0.3) ? [all.slice(0, 3), all.slice(3)] : [all];
  const text = paragraphs.map((sentences) => sentences.join(" ")).join("\n\n");
  const facts = c.arc.facts({ c }).map(([questions, answer]) => ({
    questions: questions.map(write),
    answer: write(answer),
  }));
  facts.push({ questions: [write("Who is the story about?")], answer: write("The story is about {hero}, {a_kind}.") });
  return {
    text,
    facts: facts.filter(({ answer }) => isTold(text, answer)),
    hero: c.hero,
    kind: c.kind,
    wish: c.arc.wish,
  };
}

/** A beat that was left out, or told in another way, may have had what an answer says. */
function isTold(text, answer) {
  const lower = text.toLowerCase();
  const names = answer
    .toLowerCase()
    .match(/[a-z]+/g)
    .filter((word) => !isGlue(word));
  return names.every((word) => lower.includes(word));
}

const glue = new Set(
  (
    "a an the was were is it in on at by of and to they there had has got gave helped too about story s lost ate went wanted " +
    "met broke hid afraid stuck found with under near behind"
  ).split(" "),
);

/** A word of an answer that tells nothing by itself. */
export function isGlue(word) {
  return glue.has(word.toLowerCase());
}

function chooseParts(random, { kind }) {
  const isAnimal = kind === undefined ? random.chance(0.4) : heroAnimals.includes(kind);
  let hero = isAnimal ? animal(random, []) : person(random, []);
  if (kind !== undefined) {
    hero = isAnimal ? { ...hero, kind } : personOf(random, kind);
  }
  const friend = random.chance(0.5) ? animal(random, [hero.name]) : person(random, [hero.name]);
  const arc = random.pick(arcs);
  const [place, at, spot] = random.pick(arc.isOutdoors ? outdoors : places);
  const color = random.pick(colors);
  const color2 = random.pick(colors.filter((other) => other !== color));
  const [elder] = random.pick(elders);
  return {
    arc,
    hero: hero.name,
    kind: hero.kind,
    he: hero.he,
    him: hero.him,
    his: hero.his,
    a_kind: `a ${hero.kind}`,
    friend: friend.name,
    fkind: friend.kind,
    fhe: friend.he,
    fhim: friend.him,
    trait: random.pick(traits),
    ftrait: random.pick(traits),
    place,
    spot,
    at_place: `${at} ${place}`,
    color,
    color2,
    a_color2: `a ${color2}`,
    thing: random.pick(things),
    size: random.pick(sizes),
    treats: random.pick(treats),
    weather: random.pick(weathers),
    elder: elder.replace("{his}", hero.his),
    stranger: random.pick(strangers),
    feeling: random.pick(feelings),
    extra: random.pick(heroAnimals),
    skill: random.pick(skills),
    number: random.pick(["three", "four", "five", "six", "seven", "eight", "nine", "ten"]),
  }; // prettier-ignore
}

function personOf(random, kind) {
  return { name: random.pick(kind === "girl" ? girls : boys), kind, ...pronouns[kind] };
}
