// Short stories. An arc is a list of beats, each of which can be told in several ways; who is in it, and with what, is chosen
// once and stays the same to the end. What can be asked about a story is known beside its text.

import {
  animalNames,
  boys,
  breakable,
  colors,
  girls,
  heroAnimals,
  places,
  sizes,
  smallThings,
  sturdy,
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
  return { name, isAnimal: true, kind: random.pick(heroAnimals), ...pronouns[random.chance(0.5) ? "girl" : "boy"] };
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
  "[once upon a time|long ago], there was {a_kind} [called|named] {hero}. {he} was [very|always|so] {trait}.",
  "once upon a time, there was a {trait} {kind} [called|named] {hero}.",
  "{hero} was a {trait} {kind} who [lived near|often went to|loved] {place}.",
  "there [once was|was once] a {trait} {kind} [called|named] {hero}.",
  "in a little house near {place} lived {a_kind} [called|named] {hero}. everyone said that {he} was {trait}.",
  "{hero_the} woke up early. it was a {weather} day[.|, and {he} felt {mood}.]",
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
  "the wind [blew softly|was warm|played with the leaves].",
  "a [yellow|white|blue|brown] butterfly flew by.",
  "somewhere a [dog barked|bell rang|door opened].",
  "{hero} took a deep breath.",
  "the [sun was high|clouds looked like sheep|sky was clear].",
  "everything was [quiet|still].",
  "it smelled of [grass|flowers].",
  "far away, somebody was [singing|laughing].",
  "{hero} looked [up|around|back].",
  "{hero} [hummed a little song|said nothing].",
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
        "one {weather} morning, {hero} took it to {place}. but [on the way home, it|when {he} looked again, the {thing}] was gone.",
        "one {weather} day {he} went to {place} and lost the {thing}.",
      ],
      [
        '{hero} looked [here and there|everywhere], but {he} could not find it. "where is my {thing}?" {he} cried.',
        '{hero} was sad. "I have lost my {color} {thing}," {he} said.',
      ],
      [
        '{friend_the} came by. "do not worry," said {friend}. "I will help you."',
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
    things: smallThings,
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
        "{hero} [cleaned it|wrapped it] with care and put it in a box.",
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
        "it was hard work[, but {hero} did not stop|, and {hero} got tired]. then {friend_the} came and helped, too.",
        "{friend_the} saw them and took the other side.",
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
    things: smallThings,
    wish: "a story about a secret",
    beats: [
      [
        "one {weather} afternoon, {hero} played {at_place} with {friend_the}.",
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
    isAtNight: true,
    endings: [
      "{hero} never forgot that night.",
      "from that day on, {hero} and {friend} were best friends.",
      "the end.",
      "the next morning, {hero} told everyone about it.",
    ],
    things: smallThings,
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
        "it was only {friend_the}! {fhe} could not sleep.",
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
    weathers: ["sunny", "warm", "rainy", "windy"],
    isOutdoors: true,
    wish: "a story about a garden",
    beats: [
      ["one day {elder} gave {hero} a {size} seed.", "{elder} had a present for {hero}: a {size} seed."],
      [
        "{he} put it into the ground {spot}[ and gave it water.|. every day {he} gave it water.]",
        "{hero} found a good place for it {spot}, and gave it water every day.",
      ],
      [
        "[two|three|five|ten] days went by, and nothing came. {hero} was sad.",
        '"why does it not grow?" {hero} asked. {he} waited and waited.',
      ],
      [
        '"you have to wait," said {friend_the}. "good things take time."',
        "{friend_the} sang to the seed, and {hero} sang, too.",
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
        "{hero} wanted to {skill}. {friend_the} could do it so well.",
        "all the others could {skill}, {friend_the} best of all, but {hero} could not.",
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
        "so they met {at_place} every day, in sun and rain.",
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
    things: breakable,
    wish: "a story about saying sorry",
    beats: [
      [
        "{friend_the} had a {color} {thing}. {fhe} let {hero} play with it {at_place}.",
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
        "{friend} was not angry. they [made the {thing} whole again|fixed the {thing} together], and it was even better than before.",
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
    things: sturdy,
    wish: "a story about a rescue",
    beats: [
      [
        "it was a {weather} day {at_place}. {hero} heard someone call for help.",
        '"help, help!" called somebody, when {hero} walked through {place}.',
      ],
      ["it was {friend}, a {size} {fkind}. {fhe} was stuck {spot}.", "{spot} sat {friend_the} and could not get out."],
      [
        "{hero} pulled as hard as {he} could, but it did not work.",
        '"do not be afraid," said {hero}. "I am here." but {he} was not strong enough.',
      ],
      [
        "then {he} had an idea. {he} ran home and got a {color} {thing}.",
        "{he} thought for a while. then {he} took {his} {color} {thing}.",
      ],
      [
        "{he} held out the {thing} and pulled. {friend} was free!",
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
  {
    name: "race",
    wish: "a story about a race",
    beats: [
      [
        'one day {friend_the} said: "let us race to {place}!"',
        "one {weather} day there was a race to {place}. {hero} and {friend} both wanted to win.",
      ],
      ["{hero} ran as fast as {he} could.", '"one, two, three, go!" and off they ran.'],
      ["{friend} was ahead, but then {fhe} fell {spot}.", "but {spot}, {friend} fell down and hurt {fhis} foot."],
      ['{hero} stopped. "are you hurt?" {he} asked.', "{hero} could have won now. but {he} stopped and went back."],
      [
        "{hero} helped {fhim} up, and they walked on together.",
        '"take my hand," said {hero}, and they went on, step by step.',
      ],
      ["in the end, both got a {color} {thing}.", "nobody won, but they both got a {color} {thing} as a prize."],
    ],
    facts: ({ c }) => [
      [["Who fell?", "Who was hurt?"], "{friend} fell."],
      [["Where did they race to?"], `They raced to ${c.place}.`],
      [["What did they get?", "What was the prize?"], `They got a ${c.color} ${c.thing}.`],
    ],
  },
  {
    name: "rain",
    isOutdoors: true,
    things: ["umbrella", "blanket", "coat", "jacket"],
    weathers: ["sunny", "warm", "windy", "cloudy"],
    wish: "a story about the rain",
    beats: [
      [
        "{hero} and {friend_the} wanted to eat {treats} {at_place}.",
        "one {weather} day, {hero} and {friend_the} took {treats} to {place}.",
      ],
      [
        "but then [dark clouds came|the sky turned dark], and it began to rain.",
        "they had just sat down {spot} when it began to rain.",
      ],
      ['"our {treats} will get wet!" cried {friend}.', '"oh no, the {treats}!" said {friend}.'],
      [
        "{hero} had a {color} {thing} and held it over them.",
        "then {hero} took out a {color} {thing}. it was big enough for two.",
      ],
      [
        "under the {thing} they ate the {treats} and listened to the rain.",
        "so they sat under the {thing}, ate the {treats} and told stories.",
      ],
      ["when the sun came back, there was a rainbow.", "soon the rain stopped, and they saw a big rainbow."],
    ],
    facts: ({ c }) => [
      [["What did they eat?"], `They ate ${c.treats}.`],
      [["What kept them dry?", "What did {hero} have?"], `It was a ${c.color} ${c.thing}.`],
      [["What did they see in the end?"], "They saw a rainbow."],
      [["Who was with {hero}?"], "{friend} was with {hero}."],
    ],
  },
  {
    name: "ill",
    things: smallThings,
    wish: "a story about a visit",
    beats: [
      [
        "{friend_the} was ill and had to stay in bed.",
        "one {weather} day, {friend_the} could not come out to play. {fhe} was ill.",
      ],
      ['"poor {friend}," thought {hero}. "I will go and see {fhim}."', "{hero} wanted to make {fhim} happy."],
      ["{he} went to {place} and found {treats} {spot}.", "so {he} went to {place} and looked for a present."],
      [
        "{he} put {treats} and a {color} {thing} into a basket.",
        "soon {he} had a basket with {treats} and a {color} {thing} in it.",
      ],
      ["when {friend} saw {hero}, {fhe} sat up and smiled.", '"you came to see me!" said {friend}.'],
      [
        "they ate the {treats}, and {friend} felt much better.",
        "the next day, {friend} was well again, and they played with the {thing}.",
      ],
    ],
    facts: ({ c }) => [
      [["Who was ill?", "Who had to stay in bed?"], "{friend} was ill."],
      [["What was in the basket?", "What did {hero} bring?"], `There were ${c.treats} and a ${c.color} ${c.thing}.`],
      [["Where did {hero} go?"], `{hero} went to ${c.place}.`],
    ],
  },
  {
    name: "newcomer",
    wish: "a story about a new friend",
    beats: [
      [
        "a new {fkind} had come to live near {place}. {fhis} name was {friend}.",
        "one day, a {fkind} called {friend} came to live near {place}.",
      ],
      ["{friend} knew nobody and sat alone {spot}.", "{friend} did not know anyone and was lonely."],
      ['"should I say hello?" {hero} thought.', "{hero} saw {fhim} and wanted to say hello."],
      [
        '"hello, I am {hero}," {he} said. "do you want to play?"',
        'then {he} went up to {fhim}. "my name is {hero}," {he} said. "let us play!"',
      ],
      [
        "they played with a {color} {thing} all day.",
        '"I would love to," said {friend}, and they played with a {color} {thing}.',
      ],
      ["now {friend} was not lonely any more.", "the next day, {friend} was already waiting for {hero}."],
    ],
    facts: ({ c }) => [
      [["Who was new?", "Who was lonely?"], "It was {friend}."],
      [["What did they play with?"], `They played with a ${c.color} ${c.thing}.`],
      [["Where did {friend} sit?"], `{friend} sat ${c.spot}.`],
    ],
  },
  {
    name: "baking",
    endings: ["{hero} was very happy that day.", "they had baked the best {treats} of all.", "the end."],
    treats: ["cookies", "pancakes", "muffins", "buns"],
    things: ["bowl", "spoon", "basket", "box", "bag", "jar"],
    wish: "a story about baking",
    beats: [
      ["{hero} wanted to bake {treats} with {elder}.", "{elder} showed {hero} how to bake {treats}."],
      [
        "first they took flour, eggs and milk, and {a_color} {thing}.",
        "{hero} had {a_color} {thing}, and they took flour, butter and sugar.",
      ],
      [
        "but the first ones were black, and {hero} wanted to cry.",
        "but {hero} forgot the sugar, so they did not taste good.",
      ],
      ['"let us try again," said {elder}.', '"everyone makes mistakes," said {elder}.'],
      ["the next {treats} were golden and sweet.", "this time everything went well, and the whole house smelled good."],
      ["they gave some of them to {friend_the}.", "{friend_the} came by and ate {number} of them."],
    ],
    facts: ({ c }) => [
      [["What did {hero} bake?", "What did they bake?"], `They baked ${c.treats}.`],
      [["Who baked with {hero}?", "Who helped {hero}?"], `${cap(c.elder)} helped {hero}.`],
      [["What color was the {thing}?"], `The ${c.thing} was ${c.color}.`],
    ],
  },
  {
    name: "nest",
    isOutdoors: true,
    things: ["ladder", "rope", "basket", "box", "bucket"],
    wish: "a story about a little bird",
    beats: [
      [
        "{hero} found a little bird {spot}. it had fallen out of its nest.",
        "one {weather} day, {hero} heard a small voice. peep, peep! a little bird sat {spot}.",
      ],
      ['"do not be afraid, little bird," said {hero}.', "the little bird was [cold|hungry] and could not fly."],
      ["the nest was too high for {him}.", "{hero} looked up. the nest was high up in a tree."],
      ["{friend_the} came with a {color} {thing}.", '"wait," said {friend_the}, "I will get my {color} {thing}."'],
      [
        "with the {thing}, they put the bird back into its nest.",
        "{hero} held the bird, {friend} held the {thing}, and soon the bird was at home.",
      ],
      ["the mother bird sang a song for them.", "from then on, the little bird sang for {hero} every day."],
    ],
    facts: ({ c }) => [
      [["What did {hero} find?", "Who was out of the nest?"], "It was a little bird."],
      [["Who helped {hero}?"], "{friend} helped {hero}."],
      [["What did {friend} have?"], `{friend} had a ${c.color} ${c.thing}.`],
      [["Where was the bird?"], `The bird was ${c.spot}.`],
    ],
  },
  {
    name: "snowman",
    isOutdoors: true,
    things: ["hat", "scarf", "coat", "jacket"],
    weathers: ["snowy", "cold"],
    wish: "a story about snow",
    beats: [
      ["in the night it had snowed. everything was white.", "one cold morning, there was snow everywhere."],
      [
        "{hero} and {friend_the} went to {place} to build a snowman.",
        '"let us build a snowman {at_place}," said {friend_the}.',
      ],
      [
        "they rolled a big ball of snow, then a smaller one.",
        "they made a big ball of snow and put a little one on top.",
      ],
      [
        "{friend} found two stones for the eyes and a carrot for the nose.",
        "for the nose they took a carrot, and for the eyes two nuts.",
      ],
      [
        "but something was missing. {hero} gave the snowman a {color} {thing}.",
        '"he must be cold," said {hero}, and gave him a {color} {thing}.',
      ],
      ["the snowman looked [great|very nice|fine].", "the snowman stood there until spring came."],
    ],
    facts: ({ c }) => [
      [["What did they build?", "What did {hero} and {friend} build?"], "They built a snowman."],
      [["What was the nose?"], "The nose was a carrot."],
      [["What did the snowman get?"], `The snowman got a ${c.color} ${c.thing}.`],
      [["Who was with {hero}?"], "{friend} was with {hero}."],
    ],
  },
  {
    name: "bedtime",
    isAtNight: true,
    things: ["teddy", "doll", "pillow", "blanket", "robot", "book", "lamp", "scarf"],
    endings: ["the end.", "good night, {hero}!", "and the moon looked in at the window.", "soon all was quiet."],
    wish: "a bedtime story",
    beats: [
      ["it was late, but {hero} could not sleep.", "the moon was up, and all were asleep but {hero}."],
      ["{he} counted to [ten|twenty], but it did not help.", "{he} turned from side to side. it did not help."],
      ['"why are you awake?" asked {elder}.', '{elder} came in and asked: "are you still awake?"'],
      ['"I miss my {color} {thing}," said {hero}.', '"my {color} {thing} is not here," said {hero}.'],
      ["they looked for it and found it {nook}.", "they looked everywhere. it was {nook}!"],
      [
        "with the {thing} beside {him}, {hero} fell asleep at once.",
        "{hero} took the {thing}, closed {his} eyes and fell asleep.",
      ],
    ],
    facts: ({ c }) => [
      [["What did {hero} miss?", "What was not there?"], `It was a ${c.color} ${c.thing}.`],
      [["Where was the {thing}?"], `The ${c.thing} was ${c.nook}.`],
      [["Who came in?", "Who helped {hero}?"], `It was ${c.elder}.`],
    ],
  },
  {
    name: "way",
    isFar: true,
    things: ["lamp", "map", "bell", "whistle", "candle"],
    wish: "a story about the way home",
    beats: [
      ["one {weather} day, {hero} went far from home, to {place}.", "{hero} had never been alone {at_place}."],
      ["soon {he} did not know the way home.", '"which way is home?" {he} asked. all paths looked the same.'],
      ["{he} sat down {spot} and cried.", "it got dark, and {hero} sat down {spot}."],
      [
        "then {friend_the} came with {a_color} {thing}.",
        '{friend_the} saw {him} and held up {a_color} {thing}. "over here!" {fhe} called.',
      ],
      ['"I know the way," said {friend}. "come with me."', "{friend} took {his} hand, and they walked and walked."],
      ["at home, {elder} gave them {treats}.", '"there you are!" cried {elder}. then they all ate {treats}.'],
    ],
    facts: ({ c }) => [
      [["Who knew the way?", "Who helped {hero}?"], "It was {friend}."],
      [["What did {friend} have?"], `{friend} had a ${c.color} ${c.thing}.`],
      [["Where did {hero} sit down?"], `{hero} sat down ${c.spot}.`],
      [["What did they eat?"], `They ate ${c.treats}.`],
    ],
  },
];

const outdoors = places.slice(0, 13);
const nooks = [
  "under the bed",
  "behind the door",
  "in the cupboard",
  "under the chair",
  "in the kitchen",
  "on the shelf",
];
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
  const begins = c.arc.isFar ? openings.filter((opening) => !opening.includes("{place}")) : openings;
  const told = [random.pick(begins), ...c.arc.beats.map((beat) => random.pick(beat))].map(write);
  const fits = (ending) => !ending.includes("{friend}") || told.some((sentence) => sentence.includes(c.friend));
  const all = random.chance(0.7) ? [...told, write(random.pick((c.arc.endings ?? endings).filter(fits)))] : told;
  for (const aside of random.sample(c.arc.isAtNight ? [] : asides, random.pick([0, 0, 1, 1, 2]))) {
    all.splice(random.between(2, told.length - 1), 0, write(aside));
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
    "met broke hid afraid stuck found with under near behind ill fell raced baked built sat down new played"
  ).split(" "),
);

/** A word of an answer that tells nothing by itself. */
export function isGlue(word) {
  return glue.has(word.toLowerCase());
}

function chooseParts(random, { kind, name }) {
  const isAnimal = kind === undefined ? random.chance(0.4) : heroAnimals.includes(kind);
  let hero = isAnimal ? animal(random, []) : person(random, []);
  if (kind !== undefined) {
    hero = isAnimal ? { ...hero, kind } : personOf(random, kind);
  }
  if (name !== undefined) {
    hero = { ...hero, name };
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
    fhis: friend.his,
    hero_the: isAnimal ? `${hero.name} the ${hero.kind}` : hero.name,
    friend_the: friend.isAnimal ? `${friend.name} the ${friend.kind}` : `${hero.his} friend ${friend.name}`,
    trait: random.pick(traits),
    ftrait: random.pick(traits),
    place,
    spot,
    at_place: `${at} ${place}`,
    color,
    color2,
    a_color: `a ${color}`,
    a_color2: `a ${color2}`,
    thing: random.pick(arc.things ?? things),
    size: random.pick(sizes),
    treats: random.pick(arc.treats ?? treats),
    weather: random.pick(arc.weathers ?? weathers),
    elder: elder.replace("{his}", hero.his),
    stranger: random.pick(strangers),
    mood: random.pick(["happy", "excited", "full of joy", "very well", "a little sleepy"]),
    nook: random.pick(nooks),
    skill: random.pick(skills),
    number: random.pick(["three", "four", "five", "six", "seven", "eight", "nine", "ten"]),
  }; // prettier-ignore
}

function personOf(random, kind) {
  return { name: random.pick(kind === "girl" ? girls : boys), kind, ...pronouns[kind] };
}
