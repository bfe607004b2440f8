// The words that stories and chats are made of: everyday English, nothing that a child should not read.

export const girls = words(
  "Anna Bella Clara Daisy Ella Emma Fiona Grace Hannah Iris Ivy Jane Julia Kate Lily Lucy Maya Mia Nina Nora Olive Penny " +
    "Rosa Ruby Sally Sara Sofia Tessa Zoe Amy Alice Beth Carla Dora Eva Gina Holly Ida Jenny Kira Laura Molly Nelly Paula " +
    "Rita Stella Tina Vera Wendy Yara Ana Maria Lena Leah Chloe Eve Sarah Emily Mary Susan Lisa Elsa Freya Nadia Pia",
);
export const boys = words(
  "Adam Ben Carl Dan Eli Felix Finn George Henry Hugo Ivan Jack Jacob Jonas Leo Liam Luke Mark Max Milo Nick Noah Oscar " +
    "Otto Paul Peter Ralph Ray Robin Sam Theo Tim Toby Tom Victor Will Zack Alex Bob David Eddie Frank Gus Harry Joe Ken " +
    "Louis Martin Ned Oliver John James Robert Michael William Thomas Charlie Daniel Simon Matt Chris Steve Lucas Kevin Pablo " +
    "Anton Emil Igor Marco Omar",
);
/** Of animals in stories. */
export const animalNames = words(
  "Pip Momo Fluffy Bruno Coco Dodo Fuzzy Ginger Hazel Juno Kiki Lulu Mimi Nemo Pepper Poppy Rusty Snowy Spot Sunny Tiny " +
    "Toffee Waffles Ziggy Acorn Bramble Clover Dusty Misty Willow",
);

/** Kind of animal: what it says, where it lives, what its young is called, what it likes to eat, colour. */
export const animals = {
  cow: ["moo", "on a farm", "calf", "grass", "brown"],
  dog: ["woof", "in a house", "puppy", "bones", "brown"],
  cat: ["meow", "in a house", "kitten", "fish", "grey"],
  duck: ["quack", "on a pond", "duckling", "bread", "white"],
  sheep: ["baa", "on a farm", "lamb", "grass", "white"],
  pig: ["oink", "on a farm", "piglet", "corn", "pink"],
  horse: ["neigh", "in a stable", "foal", "hay", "brown"],
  frog: ["croak", "in a pond", "tadpole", "flies", "green"],
  owl: ["hoot", "in a tree", "owlet", "mice", "brown"],
  lion: ["roar", "in the grassland", "cub", "meat", "golden"],
  bee: ["buzz", "in a hive", "larva", "nectar", "yellow"],
  mouse: ["squeak", "in a hole", "pup", "cheese", "grey"],
  snake: ["hiss", "in the grass", "snakelet", "eggs", "green"],
  hen: ["cluck", "in a coop", "chick", "seeds", "brown"],
  bear: ["growl", "in the forest", "cub", "honey", "brown"],
  wolf: ["howl", "in the forest", "pup", "meat", "grey"],
  crow: ["caw", "in a tree", "chick", "seeds", "black"],
  goat: ["bleat", "on a farm", "kid", "leaves", "white"],
};
/** Heroes of stories beside children. */
export const heroAnimals = words(
  "fox rabbit bear mouse owl frog duck hedgehog squirrel kitten puppy turtle lamb pony penguin deer beaver otter goat elephant " +
    "cat dog horse cow pig sheep hen lion tiger monkey bird snail wolf dragon",
);

/** Things one can have, by what can happen to them: fit into a box, break, hold somebody who is pulled. */
export const smallThings = words(
  "ball hat scarf cup bell book key coin shell stone feather ribbon button flute whistle bottle spoon brush pencil crayon doll " +
    "puzzle map marble ring watch mitten flower leaf acorn teddy",
);
export const breakable = words(
  "kite drum bell lamp boat flute whistle bottle bowl cup mirror pencil doll train truck robot watch umbrella jar wagon sled",
);
export const sturdy = words("rope ladder scarf blanket coat jacket ribbon umbrella bucket basket sled wagon");
/** All of them. */
export const things = [
  ...new Set([...smallThings, ...breakable, ...sturdy, ...words("box basket balloon pillow bag candle boot kettle")]),
];
export const colors = words("red blue green yellow orange purple pink brown black white grey golden silver");
export const sizes = words("big small tiny little large");
export const foods = {
  fruit: words("apple pear banana plum peach cherry lemon orange melon grape"),
  vegetable: words("carrot potato onion pea bean cabbage pumpkin cucumber radish leek"),
};
/** The sweet things and meals of stories. */
export const treats = words("cookies pancakes muffins apples berries nuts cherries plums pears buns");

/** Where stories happen: the place, how one is there, a spot there. */
export const places = [
  // those within walls last
  ["the forest", "in", "among the trees"],
  ["the park", "in", "near the pond"],
  ["the beach", "at", "on the sand"],
  ["the garden", "in", "behind the roses"],
  ["the market", "at", "between the stalls"],
  ["the meadow", "in", "in the tall grass"],
  ["the hill", "on", "at the top"],
  ["the river", "by", "near the water"],
  ["the farm", "on", "next to the barn"],
  ["the lake", "at", "on the shore"],
  ["the village", "in", "by the old well"],
  ["the playground", "at", "under the slide"],
  ["the orchard", "in", "under an apple tree"],
  ["the old mill", "at", "behind the door"],
  ["the bridge", "at", "under the arch"],
  ["the library", "in", "between the books"],
];
export const weathers = words("sunny windy rainy snowy cloudy warm cold foggy");
export const traits = words("kind brave curious cheerful shy clever gentle friendly patient careful lively quiet");

export const opposites = {
  big: "small",
  hot: "cold",
  up: "down",
  fast: "slow",
  day: "night",
  open: "closed",
  happy: "sad",
  wet: "dry",
  full: "empty",
  old: "young",
  hard: "soft",
  light: "dark",
  loud: "quiet",
  long: "short",
  near: "far",
  left: "right",
  in: "out",
  on: "off",
  first: "last",
  clean: "dirty",
  early: "late",
  high: "low",
  rich: "poor",
  thick: "thin",
  heavy: "light",
  strong: "weak",
  good: "bad",
  yes: "no",
  begin: "end",
  black: "white",
  win: "lose",
  give: "take",
  push: "pull",
  sweet: "sour",
  true: "false",
  above: "below",
  inside: "outside",
  before: "after",
  always: "never",
  asleep: "awake",
}; // prettier-ignore

/** What colour things have by themselves. */
export const colorOf = {
  grass: "green",
  "the sky": "blue",
  snow: "white",
  "a banana": "yellow",
  coal: "black",
  blood: "red",
  "the sun": "yellow",
  "a carrot": "orange",
  milk: "white",
  "a frog": "green",
  chocolate: "brown",
  "a lemon": "yellow",
  "a strawberry": "red",
  "a crow": "black",
  "an elephant": "grey",
  "a leaf": "green",
  "a tomato": "red",
  "the sea": "blue",
  "a pig": "pink",
  "a plum": "purple",
  "a fire truck": "red",
  "a polar bear": "white",
  "a pumpkin": "orange",
  "a cucumber": "green",
  "a gold ring": "golden",
  "a mouse": "grey",
  "a cherry": "red",
  "an egg yolk": "yellow",
  "a blueberry": "blue",
  salt: "white",
}; // prettier-ignore

export const days = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday");
export const months = words("January February March April May June July August September October November December");
export const plurals = {
  cat: "cats",
  dog: "dogs",
  mouse: "mice",
  foot: "feet",
  tooth: "teeth",
  child: "children",
  man: "men",
  woman: "women",
  goose: "geese",
  box: "boxes",
  fox: "foxes",
  leaf: "leaves",
  baby: "babies",
  city: "cities",
  knife: "knives",
  bus: "buses",
  sheep: "sheep",
  fish: "fish",
  apple: "apples",
  berry: "berries",
  wolf: "wolves",
  tree: "trees",
  cup: "cups",
  key: "keys",
}; // prettier-ignore
export const rhymes = {
  cat: ["hat", "bat", "mat"],
  sun: ["run", "fun", "bun"],
  tree: ["bee", "sea", "key"],
  house: ["mouse"],
  cake: ["lake", "snake"],
  moon: ["spoon", "soon"],
  star: ["car", "jar"],
  boat: ["goat", "coat"],
  king: ["ring", "sing"],
  bed: ["red", "head"],
  dog: ["frog", "log"],
  night: ["light", "kite"],
  ball: ["wall", "tall"],
  nose: ["rose", "toes"],
  bear: ["chair", "hair"],
}; // prettier-ignore
/** Things, and whether that can be said of them. */
export const truths = [
  ["Is snow cold?", "Yes, snow is cold."],
  ["Is fire cold?", "No, fire is hot."],
  ["Can a fish swim?", "Yes, a fish can swim."],
  ["Can a fish climb a tree?", "No, a fish cannot climb a tree."],
  ["Can a bird fly?", "Yes, a bird can fly."],
  ["Can a cow fly?", "No, a cow cannot fly."],
  ["Is a stone soft?", "No, a stone is hard."],
  ["Is water wet?", "Yes, water is wet."],
  ["Is the sun hot?", "Yes, the sun is hot."],
  ["Is an ant bigger than a horse?", "No, an ant is smaller than a horse."],
  ["Is an elephant bigger than a cat?", "Yes, an elephant is bigger than a cat."],
  ["Do dogs have wings?", "No, dogs do not have wings."],
  ["Do birds have wings?", "Yes, birds have wings."],
  ["Do cats have tails?", "Yes, cats have tails."],
  ["Is ice warm?", "No, ice is cold."],
  ["Is a feather heavy?", "No, a feather is light."],
  ["Can we see at night without light?", "No, at night it is dark."],
  ["Does a tree have leaves?", "Yes, a tree has leaves."],
  ["Is sugar sweet?", "Yes, sugar is sweet."],
  ["Is a lemon sweet?", "No, a lemon is sour."],
]; // prettier-ignore
export const parts = {
  see: "eyes",
  hear: "ears",
  smell: "nose",
  taste: "tongue",
  walk: "feet",
  hold: "hands",
  bite: "teeth",
  think: "head",
}; // prettier-ignore
export const shapes = { triangle: 3, square: 4, rectangle: 4, pentagon: 5, hexagon: 6 };
export const legs = { dog: 4, bird: 2, spider: 8, cat: 4, ant: 6, person: 2, horse: 4, hen: 2, snake: 0, bee: 6 };

export const numberWords = words(
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen " +
    "nineteen twenty",
);

function words(text) {
  return text.split(" ");
}
