"use strict";
document.body.classList.add("scripted");
const data = JSON.parse(document.getElementById("data").textContent);
const load = (address) => new Promise((done, fail) => {
  const image = new Image();
  image.onload = () => done(image);
  image.onerror = fail;
  image.src = address;
});
const bytes = (image, width, height) => {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
};

const slider = document.getElementById("before-after");
slider?.addEventListener("input", () => {
  document.querySelector(".compare .over").style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
});

async function recompose() {
  const { width, height, columns } = data.recompose;
  const whole = bytes(await load(data.recompose.pastiche), width, height);
  const parts = {};
  for (const column of columns) parts[column.name] = { reach: column.reach, pixels: bytes(await load(column.data), width, height).data };
  const canvas = document.getElementById("canvas"), context = canvas.getContext("2d");
  const inputs = [...document.querySelectorAll("#sliders input")];
  const draw = () => {
    const sums = new Float32Array(width * height * 4);
    const changed = inputs.filter((input) => Number(input.value) !== 1);
    for (const input of changed) {
      const { reach, pixels } = parts[input.dataset.column], factor = ((Number(input.value) - 1) * reach * 255) / 127.5;
      for (let i = 0; i < sums.length; i++) sums[i] += (pixels[i] - 127.5) * factor;
    }
    const shown = new ImageData(width, height);
    for (let i = 0; i < sums.length; i++) shown.data[i] = i % 4 === 3 ? 255 : whole.data[i] + sums[i];
    context.putImageData(shown, 0, 0);
    const words = changed.map((input) => `${input.dataset.column.replace("style/", "")} × ${input.value}`);
    document.getElementById("canvas-caption").textContent = words.length ? `this paint changed: ${words.join(", ")}` : "all paint: the pastiche";
    canvas.dataset.ready = "true";
  };
  const mark = () => {
    for (const input of inputs) {
      const gone = Number(input.value) === 0, button = input.parentElement.querySelector("button");
      input.parentElement.querySelector("output").value = input.value;
      button.setAttribute("aria-pressed", String(gone));
      button.textContent = gone ? "put back" : "take away";
    }
  };
  const beside = (name) => {
    const kept = document.querySelector(`#layer-data img[data-layer="${name.replace("style/", "")}"]`);
    if (!kept) return;
    const image = document.getElementById("left-out");
    image.src = kept.src;
    image.alt = `The pastiche painted without ${kept.dataset.layer}`;
    document.getElementById("left-out-caption").textContent = `really painted without ${kept.dataset.layer}; ${kept.dataset.apart} from this paint removed`;
  };
  const change = (input) => {
    mark();
    beside(input.dataset.column);
    draw();
  };
  for (const input of inputs) {
    input.addEventListener("input", () => change(input));
    input.parentElement.querySelector("button").addEventListener("click", () => {
      input.value = Number(input.value) === 0 ? 1 : 0;
      change(input);
    });
  }
  document.getElementById("reset").addEventListener("click", () => {
    for (const input of inputs) input.value = 1;
    mark();
    draw();
  });
  draw();
}

const chosen = [];
for (const card of document.querySelectorAll(".card")) card.addEventListener("click", () => {
  const place = chosen.indexOf(card);
  if (place >= 0) chosen.splice(place, 1);
  else chosen.push(card);
  if (chosen.length > 2) chosen.shift();
  for (const each of document.querySelectorAll(".card")) each.setAttribute("aria-pressed", String(chosen.includes(each)));
  const row = document.getElementById("chosen");
  row.replaceChildren(...chosen.map((each) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.append(each.querySelector("img").cloneNode(), caption);
    caption.textContent = each.dataset.words;
    return figure;
  }));
});

async function pointing() {
  const { maps, width, height, data: address } = data.sources;
  const colours = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999933", "#661100"];
  const here = document.getElementById("here"), there = document.getElementById("there");
  there.width = width;
  there.height = height;
  const pastiche = await load(document.getElementById("shown").src), style = await load(address);
  let x = here.width / 2, y = here.height / 2;
  const draw = () => {
    const a = here.getContext("2d"), b = there.getContext("2d");
    a.drawImage(pastiche, 0, 0);
    b.drawImage(style, 0, 0, width, height);
    const names = [];
    Object.entries(maps).forEach(([layer, map], place) => {
      const row = Math.min(map.rows.length - 1, Math.floor(y / map.stride)), column = Math.min(map.rows[0].length - 1, Math.floor(x / map.stride));
      const side = Math.max(6, map.stride);
      for (const [context, cx, cy] of [[a, (column + 0.5) * map.stride, (row + 0.5) * map.stride], [b, map.columns[row][column], map.rows[row][column]]]) {
        context.lineWidth = 2;
        context.strokeStyle = colours[place % colours.length];
        context.strokeRect(cx - side / 2, cy - side / 2, side, side);
      }
      const place_of = (value, whole) => `${Math.round((100 * value) / whole)} %`;
      names.push(`${layer} (${place_of(map.columns[row][column], width)} across, ${place_of(map.rows[row][column], height)} down)`);
    });
    const legend = document.getElementById("legend");
    legend.replaceChildren(...names.flatMap((name, place) => {
      const box = document.createElement("span");
      box.className = "key";
      box.style.background = colours[place % colours.length];
      return [box, `${name} `];
    }));
  };
  here.addEventListener("pointermove", (event) => {
    const box = here.getBoundingClientRect();
    x = ((event.clientX - box.left) / box.width) * here.width;
    y = ((event.clientY - box.top) / box.height) * here.height;
    draw();
  });
  here.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[event.key];
    if (!move) return;
    event.preventDefault();
    x = Math.min(Math.max(x + move[0], 0), here.width - 1);
    y = Math.min(Math.max(y + move[1], 0), here.height - 1);
    draw();
  });
  draw();
}
if (data.recompose) recompose();
if (data.sources) pointing();
